//! One connection to an operator replica: TLS 1.3 with the operator's own authority, HTTP/2, our token on every call.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use landbridge_destination::serve::SERVER_NAME;
use landbridge_runtime::dial::Dialer;
use landbridge_runtime::tls;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::ControlError;
use super::{Authority, Learned, Settings, authority};

/// Limit for a TCP connection, and again for the handshakes on it.
const CONNECT: Duration = Duration::from_secs(5);

/// Limit for the head of an answer. The operator asks the API server who we are, which may take it 10 s.
const HEAD: Duration = Duration::from_secs(15);

/// Limit for the text of a refusal and the answer to a report.
const BODY: Duration = Duration::from_secs(5);

/// Longest such text.
const MAX_BODY: usize = 64 << 10;

/// Longest file with a token or an authority.
const MAX_FILE: u64 = 256 << 10;

/// Bytes on their way to us at most: a snapshot is some megabytes, and the window is what one round trip may bring.
const WINDOW: u32 = 1 << 20;

/// Where operators are, and what is needed to call them.
#[derive(Clone)]
pub(crate) struct Place {
    host: String,
    port: u16,
    authority: Authority,
    learned: Learned,
    token_file: PathBuf,
    dialer: Dialer,
}

/// An open connection; dropped, it is closed.
pub(crate) struct Link {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    token_file: PathBuf,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Place {
    pub(crate) fn new(settings: &Settings, dialer: Dialer) -> Self {
        Self {
            host: settings.host.clone(),
            port: settings.port,
            authority: settings.authority.clone(),
            learned: settings.learned.clone(),
            token_file: settings.token_file.clone(),
            dialer,
        }
    }

    /// Connects to a replica, or to whichever stands behind the configured address.
    pub(crate) async fn connect(&self, replica: Option<SocketAddr>) -> Result<Link, ControlError> {
        // Read at each connection: authorities are replaced while proxies run.
        let connector = TlsConnector::from(Arc::new(self.trust().await?));
        let (host, port) = match replica {
            Some(address) => (address.ip().to_string(), address.port()),
            None => (self.host.clone(), self.port),
        };
        let stream = self.dialer.connect(&host, port, CONNECT).await?;
        let refused = |reason: String| ControlError::Tls {
            address: format!("{host}:{port}"),
            reason,
            authority: self.authority.to_string(),
        };
        // The name that its certificate must have, whatever address was dialled.
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| refused(error.to_string()))?;
        let late = |_| ControlError::Timeout(CONNECT.as_secs());
        let stream = timeout(CONNECT, connector.connect(name, stream))
            .await
            .map_err(late)?;
        let stream = stream.map_err(|error| refused(error.to_string()))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(refused("it does not speak HTTP/2".to_owned()));
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let (sender, connection) = timeout(CONNECT, builder.handshake(TokioIo::new(stream)))
            .await
            .map_err(late)?
            .map_err(|error| ControlError::Exchange(error.to_string()))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the operator ended");
            }
        });
        Ok(Link {
            sender,
            driver,
            token_file: self.token_file.clone(),
        })
    }

    async fn trust(&self) -> Result<ClientConfig, ControlError> {
        let roots = authority::roots(&self.authority, &self.learned).await?;
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| ControlError::Exchange(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl Link {
    /// Opens a stream of messages.
    pub(super) async fn stream(&mut self, path: &str) -> Result<Incoming, ControlError> {
        let answer = self.call(Method::GET, path, Bytes::new()).await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(answer).await);
        }
        Ok(answer.into_body())
    }

    /// Posts JSON; status and text of the answer.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        json: Bytes,
    ) -> Result<(StatusCode, Bytes), ControlError> {
        let answer = self.call(Method::POST, path, json).await?;
        let status = answer.status();
        Ok((status, text(answer).await?))
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ControlError> {
        // Read at each call: tokens are replaced well before they end.
        let token = token(&self.token_file).await?;
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| {
                ControlError::File {
                    what: "the token",
                    path: self.token_file.clone(),
                    reason: "it is no token".to_owned(),
                }
            })?;
        value.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{SERVER_NAME}{path}"))
            .header(HOST, SERVER_NAME)
            .header(AUTHORIZATION, value)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ControlError::Exchange(error.to_string()))?;
        let exchange = async {
            let failed = |error: hyper::Error| ControlError::Exchange(error.to_string());
            self.sender.ready().await.map_err(failed)?;
            self.sender.send_request(request).await.map_err(failed)
        };
        match timeout(HEAD, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ControlError::Timeout(HEAD.as_secs())),
        }
    }
}

async fn refusal(answer: Response<Incoming>) -> ControlError {
    let status = answer.status();
    let text = text(answer).await.unwrap_or_default();
    refused(status, &text)
}

/// A refusal with the operator's words, made safe for a log.
pub(crate) fn refused(status: StatusCode, text: &[u8]) -> ControlError {
    let text = String::from_utf8_lossy(text);
    let text = text
        .chars()
        .take(400)
        .map(|c| if c.is_control() { ' ' } else { c });
    ControlError::Refused {
        status: status.as_u16(),
        reason: text.collect(),
    }
}

async fn text(answer: Response<Incoming>) -> Result<Bytes, ControlError> {
    match timeout(BODY, Limited::new(answer.into_body(), MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => Err(ControlError::Exchange(error.to_string())),
        Err(_) => Err(ControlError::Timeout(BODY.as_secs())),
    }
}

async fn token(path: &Path) -> Result<SecretString, ControlError> {
    let bytes = read("the token", path).await?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    if text.is_empty() {
        return Err(ControlError::File {
            what: "the token",
            path: path.to_owned(),
            reason: "it is empty".to_owned(),
        });
    }
    Ok(SecretString::from(text))
}

pub(crate) async fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ControlError> {
    let unreadable = |reason: String| ControlError::File {
        what,
        path: path.to_owned(),
        reason,
    };
    let reading = async {
        let mut content = Vec::new();
        let file = tokio::fs::File::open(path).await?;
        file.take(MAX_FILE + 1).read_to_end(&mut content).await?;
        Ok::<_, std::io::Error>(content)
    };
    let content = match timeout(CONNECT, reading).await {
        Ok(content) => content.map_err(|error| unreadable(error.to_string()))?,
        Err(_) => return Err(ControlError::Timeout(CONNECT.as_secs())),
    };
    if content.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(content)
}
