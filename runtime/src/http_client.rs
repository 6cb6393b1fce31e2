//! A small HTTP client for our own calls (token services, the destination store): bounded answers, deadlines, no
//! redirects, the dialer's address policy. The data path has its own pool and does not use this.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dial::{DialError, Dialer};

/// How long an unused connection is kept. Below the 30 s at which our own store closes its, and the 60 s of common
/// servers and balancers: a request on a connection that is just being closed is lost.
const IDLE: Duration = Duration::from_secs(20);

/// Unused connections kept per server.
const IDLE_PER_HOST: usize = 8;

/// Limits of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// The whole call, to the answer's last byte. Name look-up, dialling and TLS are included when a new connection is
    /// needed; the dialling has the client's connect limit on top, which should be the shorter one.
    pub answer: Duration,
    /// The largest answer body, in bytes.
    pub max_body: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            max_body: 1 << 20,
        }
    }
}

/// How long a client waits, for callers who do not say it for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// To connect.
    pub connect: Duration,
    /// For one answer, connecting included.
    pub answer: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: CallLimits::default().answer,
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection could not be made; nothing was sent.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection or TLS handshake failed; the request was not processed.
    #[error("cannot connect to {server}: {reason}")]
    Connect {
        /// scheme://host:port
        server: String,
        /// Why.
        reason: String,
    },
    /// No complete answer in time.
    #[error("no complete answer from {server} within {seconds} s")]
    Timeout {
        /// scheme://host:port
        server: String,
        /// The deadline.
        seconds: u64,
    },
    /// The answer's body is over the limit.
    #[error("the answer of {server} is larger than {limit} bytes")]
    TooLarge {
        /// scheme://host:port
        server: String,
        /// The limit.
        limit: usize,
    },
    /// The exchange broke off.
    #[error("the exchange with {server} failed: {reason}")]
    Exchange {
        /// scheme://host:port
        server: String,
        /// Why.
        reason: String,
    },
}

impl CallError {
    /// Whether the server cannot have processed the request, so that sending it again is safe whatever it does.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Dial(error) => !matches!(error, DialError::Forbidden { .. }),
            Self::Connect { .. } => true,
            _ => false,
        }
    }

    /// Whether a deadline passed.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_timeout(),
            Self::Timeout { .. } => true,
            _ => false,
        }
    }
}

/// The client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<DialConnector>, Full<Bytes>>,
    answer: Duration,
}

impl HttpClient {
    /// A client that connects through `dialer` within `connect_timeout` and checks servers with `tls`. The
    /// configuration's ALPN list must be empty: this client speaks HTTP/1.1.
    pub fn new(dialer: Dialer, tls: ClientConfig, connect_timeout: Duration) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(DialConnector {
                dialer,
                connect_timeout,
            });
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector);
        Self {
            client,
            answer: Deadlines::default().answer,
        }
    }

    /// How long an answer may take where the caller does not say: 10 s, unless the client was made with other
    /// [`Deadlines`].
    pub fn answer_deadline(&self) -> Duration {
        self.answer
    }

    /// Sends one request and reads the whole answer. Redirects are answers, not followed.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(
        &self,
        request: Request<Bytes>,
        limits: CallLimits,
    ) -> Result<Response<Bytes>, CallError> {
        let server = origin(request.uri());
        let exchange = async {
            let (head, body) = self.send(request, &server).await?.into_parts();
            let body = Limited::new(body, limits.max_body)
                .collect()
                .await
                .map_err(|error| {
                    if error.is::<LengthLimitError>() {
                        CallError::TooLarge {
                            server: server.clone(),
                            limit: limits.max_body,
                        }
                    } else {
                        CallError::Exchange {
                            server: server.clone(),
                            reason: error.to_string(),
                        }
                    }
                })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        match timeout(limits.answer, exchange).await {
            Ok(result) => result,
            Err(_) => Err(late(server, limits.answer)),
        }
    }

    /// Sends one request and reads the head of the answer within `head`; the body is read piece by piece as it comes.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn open(
        &self,
        request: Request<Bytes>,
        head: Duration,
    ) -> Result<Response<BodyStream>, CallError> {
        let server = origin(request.uri());
        match timeout(head, self.send(request, &server)).await {
            Ok(result) => Ok(result?.map(|body| BodyStream { body, server })),
            Err(_) => Err(late(server, head)),
        }
    }

    async fn send(&self, request: Request<Bytes>, server: &str) -> Result<Response<Incoming>, CallError> {
        self.client
            .request(request.map(Full::new))
            .await
            .map_err(|error| classify(&error, server))
    }
}

fn late(server: String, deadline: Duration) -> CallError {
    CallError::Timeout {
        server,
        seconds: deadline.as_secs(),
    }
}

/// The body of an answer that is read as it comes. Dropping it ends the exchange.
#[derive(Debug)]
pub struct BodyStream {
    body: Incoming,
    server: String,
}

impl BodyStream {
    /// The next piece; nothing at the end. `silence` is how long it may take.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, CallError> {
        let piece = async {
            loop {
                match self.body.frame().await {
                    // Trailers are no data.
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => return Ok(Some(data)),
                        Err(_) => continue,
                    },
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Ok(None),
                }
            }
        };
        match timeout(silence, piece).await {
            Ok(result) => result.map_err(|reason| CallError::Exchange {
                server: self.server.clone(),
                reason,
            }),
            Err(_) => Err(late(self.server.clone(), silence)),
        }
    }

    /// What comes until `deadline` or `limit` bytes: for the text of a refusal.
    pub async fn rest(mut self, limit: usize, deadline: Duration) -> Bytes {
        let mut all = Vec::new();
        let reading = async {
            while let Ok(Some(piece)) = self.next(deadline).await {
                let room = limit.saturating_sub(all.len());
                all.extend_from_slice(piece.get(..room).unwrap_or(&piece));
                if all.len() >= limit {
                    break;
                }
            }
        };
        let _ = timeout(deadline, reading).await;
        all.into()
    }
}

/// `scheme://host:port` of a URI: what may be told to anyone, without path, query and credentials.
fn origin(uri: &Uri) -> String {
    let host = uri.host().unwrap_or("?");
    let scheme = uri.scheme_str().unwrap_or("http");
    match uri.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// Finds our own dial error in the client's chain of causes, since only that tells what to do.
fn classify(error: &hyper_util::client::legacy::Error, server: &str) -> CallError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = error.to_string();
    while let Some(inner) = cause {
        if let Some(dial) = inner
            .downcast_ref::<SharedDialError>()
            .and_then(|shared| shared.0.lock().take())
        {
            return CallError::Dial(dial);
        }
        last = inner.to_string();
        cause = inner.source();
    }
    let server = server.to_owned();
    if error.is_connect() {
        CallError::Connect { server, reason: last }
    } else {
        CallError::Exchange { server, reason: last }
    }
}

/// A dial error on its way through the client's boxed chain, to be taken out by value at the end.
#[derive(Debug, thiserror::Error)]
#[error("cannot dial")]
struct SharedDialError(Mutex<Option<DialError>>);

/// The dialer in the shape the HTTP client wants.
#[derive(Clone)]
struct DialConnector {
    dialer: Dialer,
    connect_timeout: Duration,
}

impl tower::Service<Uri> for DialConnector {
    type Response = TokioIo<TcpStream>;
    type Error = SharedDialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let default_port = if uri.scheme_str() == Some("https") {
                443
            } else {
                80
            };
            let port = uri.port_u16().unwrap_or(default_port);
            let connected = this
                .dialer
                .connect(uri.host().unwrap_or_default(), port, this.connect_timeout)
                .await;
            connected
                .map(TokioIo::new)
                .map_err(|error| SharedDialError(Mutex::new(Some(error))))
        })
    }
}

/// The usual client: public roots plus `additional`, the usual deadlines.
///
/// # Errors
/// A root is unusable or the resolver cannot be built.
pub fn standard(
    dialer: Dialer,
    additional: &[rustls_pki_types::CertificateDer<'_>],
) -> Result<HttpClient, crate::tls::TlsError> {
    standard_within(dialer, additional, Deadlines::default())
}

/// The usual client with deadlines of one's own.
///
/// # Errors
/// As for [`standard`].
pub fn standard_within(
    dialer: Dialer,
    additional: &[rustls_pki_types::CertificateDer<'_>],
    deadlines: Deadlines,
) -> Result<HttpClient, crate::tls::TlsError> {
    let tls = crate::tls::client_config(crate::tls::roots(additional)?, &[])?;
    Ok(HttpClient {
        answer: deadlines.answer,
        ..HttpClient::new(dialer, tls, deadlines.connect)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::AddressPolicy;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer).await;
                std::future::pending::<()>().await;
            }
        });
        format!("http://127.0.0.1:{port}/x")
    }

    fn client(policy: AddressPolicy) -> HttpClient {
        standard(Dialer::new(policy).unwrap(), &[]).unwrap()
    }

    fn get(url: &str) -> Request<Bytes> {
        Request::get(url).body(Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn reads_a_whole_answer_and_does_not_follow_redirects() {
        let url = server(b"HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 2\r\n\r\nhi").await;
        let answer = client(AddressPolicy::Any)
            .call(get(&url), CallLimits::default())
            .await
            .unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (302, &b"hi"[..]));
    }

    #[tokio::test]
    async fn reads_piece_by_piece_with_a_limit_of_silence() {
        const OPEN: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n";
        let url = server(OPEN).await;
        let client = client(AddressPolicy::Any);
        let answer = client.open(get(&url), Duration::from_secs(10)).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let mut body = answer.into_body();
        let piece = body.next(Duration::from_secs(10)).await.unwrap();
        assert_eq!(piece.as_deref(), Some(&b"hi"[..]));
        let silent = body.next(Duration::from_millis(50)).await.unwrap_err();
        assert!(silent.is_timeout(), "{silent}");
        let url = server(OPEN).await;
        let answer = client.open(get(&url), Duration::from_secs(10)).await.unwrap();
        let rest = answer.into_body().rest(1, Duration::from_secs(10)).await;
        assert_eq!(&rest[..], b"h");
    }

    #[tokio::test]
    async fn bounds_size_time_and_addresses() {
        let url =
            server(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789012345678901234567890").await;
        let any = client(AddressPolicy::Any);
        let small = CallLimits {
            max_body: 16,
            ..CallLimits::default()
        };
        assert!(matches!(
            any.call(get(&url), small).await.unwrap_err(),
            CallError::TooLarge { limit: 16, .. }
        ));
        let short = CallLimits {
            answer: Duration::from_millis(50),
            ..CallLimits::default()
        };
        let error = any.call(get(&url), short).await.unwrap_err();
        assert!(error.is_timeout() && !error.is_unsent(), "{error}");
        let error = client(AddressPolicy::NoLocal)
            .call(get(&url), CallLimits::default())
            .await
            .unwrap_err();
        assert!(
            matches!(error, CallError::Dial(DialError::Forbidden { .. })),
            "{error}"
        );
    }
}
