//! The connection to a gateway: one for all questions, made again when it is gone.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use landbridge_destination::gateway::{MAX_RESOLVE_ANSWER, RESOLVE_PATH};
use landbridge_destination::identity::GATEWAY_NAME;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use rustls_pki_types::ServerName;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::metrics::LinkMetrics;
use super::{GatewaySettings, unavailable};
use crate::certificate::Certificate;
use crate::control::delay;
use crate::failure::Failure;

/// Limit for a TCP connection, and again for each of the handshakes on it.
const CONNECT: Duration = Duration::from_secs(5);

/// Limit for one question. The gateway waits 8 s for a store that is away, and may have to wait for a token after that.
const CALL: Duration = Duration::from_secs(30);

/// A gateway that does not answer a ping for this long, while it is asked something, is gone.
const PING: Duration = Duration::from_secs(10);

/// Bytes on their way to us at most: answers have some KiB, and this is per sidecar.
const WINDOW: u32 = 64 << 10;

/// Gateways that are tried for one question: a connection that was kept may be to one that is gone.
const TRIES: usize = 2;

/// All questions to gateways.
pub(super) struct Link {
    settings: GatewaySettings,
    dialer: Dialer,
    state: Mutex<State>,
    metrics: LinkMetrics,
}

/// Held while a connection is made: who waits here shares it.
#[derive(Default)]
struct State {
    open: Option<Open>,
    /// In a row.
    failures: u32,
    /// Not before then, and why not.
    wait: Option<(Instant, Failure)>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    number: u64,
    /// It has answered a question.
    proven: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    pub(super) fn new(settings: GatewaySettings) -> std::io::Result<Self> {
        Ok(Self {
            settings,
            // Gateways are where the settings say: any address is right here.
            dialer: Dialer::new(AddressPolicy::Any)?,
            state: Mutex::default(),
            metrics: LinkMetrics::default(),
        })
    }

    pub(super) fn metrics(&self) -> &LinkMetrics {
        &self.metrics
    }

    /// Asks one question. Asking twice does no harm, so another gateway is tried when one fails or wants no more.
    pub(super) async fn post(&self, body: Bytes) -> Result<(StatusCode, Bytes), Failure> {
        let asking = async {
            let mut tries = 1;
            loop {
                let (sender, number) = self.connection().await?;
                let answered = exchange(sender, body.clone()).await;
                let why = match &answered {
                    Ok((StatusCode::SERVICE_UNAVAILABLE, text)) => {
                        unavailable(String::from_utf8_lossy(text).chars().take(400).collect())
                    }
                    Ok(_) => {
                        self.proven(number).await;
                        return answered;
                    }
                    Err(failure) => failure.clone(),
                };
                self.metrics.failures.inc();
                self.forget(number, why).await;
                if tries == TRIES {
                    return answered;
                }
                tries += 1;
            }
        };
        match timeout(CALL, asking).await {
            Ok(answered) => answered,
            Err(_) => Err(unavailable(format!(
                "it did not answer within {} s",
                CALL.as_secs()
            ))),
        }
    }

    /// The open connection, or a new one. Nobody dials before the pause after a failure is over.
    async fn connection(&self) -> Result<(SendRequest<Full<Bytes>>, u64), Failure> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open
            && !open.sender.is_closed()
        {
            return Ok((open.sender.clone(), open.number));
        }
        state.open = None;
        self.metrics.connected.set(0);
        if let Some((until, failure)) = &state.wait
            && Instant::now() < *until
        {
            return Err(failure.clone());
        }
        let number = self.metrics.dials.inc();
        match self.dial(number).await {
            Ok(open) => {
                let sender = open.sender.clone();
                state.open = Some(open);
                state.wait = None;
                self.metrics.connected.set(1);
                Ok((sender, number))
            }
            Err(why) => {
                self.metrics.failures.inc();
                state.failures += 1;
                let pause = delay(state.failures, fastrand::f64());
                let failure = unavailable(why);
                if state.failures % 10 == 1 {
                    tracing::warn!(%failure, ?pause, "no gateway is heard; destinations that are known are used on");
                }
                state.wait = Some((Instant::now() + pause, failure.clone()));
                Err(failure)
            }
        }
    }

    /// It has answered: what goes wrong with it from now on says nothing of the next one.
    async fn proven(&self, number: u64) {
        let mut state = self.state.lock().await;
        if let Some(open) = state.open.as_mut().filter(|open| open.number == number) {
            open.proven = true;
            state.failures = 0;
        }
    }

    /// The next question gets another connection than this one. A gateway that does not take our certificate says so only
    /// when it is asked: who has never been answered waits, as after a connection that could not be made.
    async fn forget(&self, number: u64, why: Failure) {
        let mut state = self.state.lock().await;
        let Some(open) = state.open.take_if(|open| open.number == number) else {
            return;
        };
        self.metrics.connected.set(0);
        if !open.proven {
            state.failures += 1;
            if state.failures > 1 {
                let pause = delay(state.failures, fastrand::f64());
                state.wait = Some((Instant::now() + pause, why));
            }
        }
    }

    async fn dial(&self, number: u64) -> Result<Open, String> {
        let GatewaySettings {
            host,
            port,
            certificate,
        } = &self.settings;
        if !certificate.is_there() {
            return Err("this proxy has no certificate of the operator that counts now".to_owned());
        }
        let config = certificate
            .client_config()
            .await
            .map_err(|error| error.to_string())?;
        let stream = self.dialer.connect(host, *port, CONNECT).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let late = |_| format!("{host}:{port} did not answer within {} s", CONNECT.as_secs());
        // The name in its certificate, whatever is dialled.
        let name = ServerName::try_from(GATEWAY_NAME).map_err(|error| error.to_string())?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = timeout(CONNECT, connecting)
            .await
            .map_err(late)?
            .map_err(|error| {
                doubt_if_due(certificate, &error);
                format!("{host}:{port} cannot prove that it is a gateway: {error}")
            })?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(format!("{host}:{port} does not speak HTTP/2"));
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        let shaken = timeout(CONNECT, builder.handshake(TokioIo::new(stream)))
            .await
            .map_err(late)?;
        let (sender, connection) = shaken.map_err(|error| error.to_string())?;
        let certificate = certificate.clone();
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                // TLS 1.3 tells a client only here that its certificate is refused.
                doubt_if_due(&certificate, &error);
                tracing::debug!(%error, "connection to the gateway ended");
            }
        });
        Ok(Open {
            sender,
            driver: driver.abort_handle(),
            number,
            proven: false,
        })
    }
}

/// One side does not take the other's certificate: there may be a new authority. Other failures say nothing of that, and
/// when a gateway ends, not all of its sidecars may ask the operator.
fn doubt_if_due(certificate: &Certificate, error: &(dyn Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) = tls {
            return certificate.doubt();
        }
        next = error.source();
    }
}

async fn exchange(mut sender: SendRequest<Full<Bytes>>, body: Bytes) -> Result<(StatusCode, Bytes), Failure> {
    let failed = |error: hyper::Error| unavailable(format!("the connection failed: {error}"));
    let request = Request::post(format!("https://{GATEWAY_NAME}{RESOLVE_PATH}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| unavailable(error.to_string()))?;
    sender.ready().await.map_err(failed)?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_RESOLVE_ANSWER)
        .collect()
        .await;
    let body = body.map_err(|error| unavailable(format!("its answer broke off: {error}")))?;
    Ok((status, body.to_bytes()))
}
