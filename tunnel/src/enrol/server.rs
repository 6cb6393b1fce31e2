//! The acceptor's side of an enrolment.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::zeroize::Zeroize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::ca::{Ca, CaError, Issued};
use super::limit::AttemptLimit;
use super::token::{self, Refusal};
use super::{EnrolAnswer, EnrolRequest, MAX_MESSAGE, VERSION};
use crate::frame;
use crate::identity::PeerIdentity;
use crate::metrics::{EnrolmentResult, TunnelMetrics};

/// Deadline of the whole exchange.
const DEADLINE: Duration = Duration::from_secs(10);
/// The only thing a refused connector learns: which of the reasons it was would help someone who guesses.
const REFUSED: &str =
    "the token is unknown, expired or used, or the request is malformed; ask for a new token";

/// Says nothing about the token, which has not been looked at.
const LATER: &str = "too many attempts from this address; try again later";

/// Issues certificates.
#[derive(Debug)]
pub(crate) struct Enrolment {
    pub(crate) ca: Arc<Ca>,
    pub(crate) state_dir: PathBuf,
    pub(crate) metrics: TunnelMetrics,
    limit: Mutex<AttemptLimit>,
}

#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("too many attempts from this address")]
    Limited,
    #[error("the request is malformed: {0}")]
    Malformed(String),
    #[error(transparent)]
    Token(#[from] Refusal),
    #[error(transparent)]
    Issue(#[from] CaError),
    #[error("the enrolment task failed")]
    Task,
}

impl Enrolment {
    pub(crate) fn new(ca: Arc<Ca>, state_dir: PathBuf, metrics: TunnelMetrics) -> Self {
        Self {
            ca,
            state_dir,
            metrics,
            limit: Mutex::default(),
        }
    }

    /// Serves one enrolment connection.
    pub(crate) async fn serve<T: AsyncRead + AsyncWrite + Unpin>(&self, io: &mut T, peer: SocketAddr) {
        match timeout(DEADLINE, self.exchange(io, peer)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%peer, %error, "enrolment connection failed"),
            Err(_) => tracing::info!(%peer, "enrolment took longer than 10 s"),
        }
    }

    async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: &mut T,
        peer: SocketAddr,
    ) -> io::Result<()> {
        let mut message = frame::read(io, MAX_MESSAGE).await?;
        let allowed = self.limit.lock().take(peer.ip(), Instant::now());
        let (id, result) = if allowed {
            self.decide(&message).await
        } else {
            (None, Err(Denied::Limited))
        };
        message.zeroize();
        if result.is_ok() {
            self.limit.lock().give_back(peer.ip());
        }
        let id = id.unwrap_or_default();
        let answer = match result {
            Ok((identity, issued)) => {
                self.metrics.enrolment(EnrolmentResult::Issued);
                tracing::info!(%peer, token = id, %identity, not_after = issued.not_after, "connector enrolled");
                let authority = Some(self.ca.pem().to_owned());
                EnrolAnswer {
                    version: VERSION,
                    certificate: Some(issued.pem),
                    authority,
                    ..EnrolAnswer::default()
                }
            }
            Err(denied) => {
                self.metrics.enrolment(denied.result());
                tracing::warn!(%peer, token = id, reason = %denied, "enrolment refused");
                let again = matches!(denied, Denied::Limited);
                EnrolAnswer {
                    version: VERSION,
                    refused: Some(if again { LATER } else { REFUSED }.to_owned()),
                    again,
                    ..EnrolAnswer::default()
                }
            }
        };
        frame::write(io, &serde_json::to_vec(&answer).map_err(io::Error::other)?).await?;
        io.shutdown().await
    }

    /// The token's id, for the log, and what came out.
    async fn decide(&self, message: &[u8]) -> (Option<String>, Result<(PeerIdentity, Issued), Denied>) {
        let request: EnrolRequest<'_> = match serde_json::from_slice(message) {
            Ok(request) => request,
            Err(error) => return (None, Err(Denied::Malformed(error.to_string()))),
        };
        let id: String = request
            .token
            .chars()
            .filter(char::is_ascii_graphic)
            .take(32)
            .collect();
        if request.version != VERSION {
            return (
                Some(id),
                Err(Denied::Malformed(format!(
                    "version {} is not supported",
                    request.version
                ))),
            );
        }
        let (ca, state_dir) = (Arc::clone(&self.ca), self.state_dir.clone());
        let (token, csr) = (request.token.into_owned(), request.csr.into_owned());
        let secret = secrecy::SecretString::from(request.secret.into_owned());
        let work = tokio::task::spawn_blocking(move || issue(&ca, &state_dir, &token, &secret, &csr));
        (Some(id), work.await.unwrap_or(Err(Denied::Task)))
    }
}

/// Nothing of the request is looked into before the secret is known to be right, and the token is used up only when
/// a certificate could be made, so that a failing connector can try again.
fn issue(
    ca: &Ca,
    state_dir: &std::path::Path,
    id: &str,
    secret: &secrecy::SecretString,
    csr: &str,
) -> Result<(PeerIdentity, Issued), Denied> {
    use secrecy::ExposeSecret as _;
    let identity = token::check(state_dir, id, secret.expose_secret())?;
    let issued = ca.issue_client(csr, &identity)?;
    token::consume(state_dir, id)?;
    Ok((identity, issued))
}

impl Denied {
    const fn result(&self) -> EnrolmentResult {
        match self {
            Self::Limited => EnrolmentResult::Limited,
            Self::Task | Self::Issue(CaError::Issue(_)) | Self::Token(Refusal::File(_)) => {
                EnrolmentResult::Failed
            }
            _ => EnrolmentResult::Refused,
        }
    }
}
