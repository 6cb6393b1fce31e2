//! The client of the API server, with deadlines: kube has none for calls that are no watches.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Deadline of a call that reads or writes one object.
pub const CALL: Duration = Duration::from_secs(10);

/// Deadline of a write to a status.
pub const STATUS_CALL: Duration = Duration::from_secs(5);

/// Time for a connection to the API server.
const CONNECT: Duration = Duration::from_secs(5);

/// Silence on a watch after which its connection counts as dead: the API server sends a bookmark about every minute.
const SILENCE: Duration = Duration::from_secs(90);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A kubeconfig file that cannot be used.
    #[error("the kubeconfig cannot be used: {0}; check --kubeconfig or KUBECONFIG")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither in a cluster nor with a kubeconfig.
    #[error(
        "no cluster found: {0}; run in a pod with a service account, or name a file with --kubeconfig or KUBECONFIG"
    )]
    Infer(#[from] kube::config::InferConfigError),
    /// What is configured cannot be turned into a client.
    #[error("the client of the API server cannot be made: {0}")]
    Build(#[from] kube::Error),
}

/// A call that brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server says no, or cannot be reached.
    #[error("{}", words(.0))]
    Api(#[from] kube::Error),
    /// No answer in time.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Deadline(Duration),
}

/// What the API server says, without the whole answer behind it.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the API server answers {}: {}", status.code, status.message),
        other => other.to_string(),
    }
}

impl CallError {
    /// Status code of the answer, if there was one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether somebody else was faster, or is in the way.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

/// Waits for a call, but not for ever.
///
/// # Errors
/// What the call says, or that it took longer than `deadline`.
pub async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(CallError::Deadline(deadline)),
    }
}

/// A client for the file, for `KUBECONFIG`, or for the cluster this runs in; in this order.
///
/// # Errors
/// See [`ClientError`].
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    connect_to(kubeconfig, None).await
}

/// The same, for a context of the file other than its present one.
///
/// # Errors
/// See [`ClientError`].
pub async fn connect_to(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, ClientError> {
    let options = KubeConfigOptions {
        context: context.map(ToOwned::to_owned),
        ..KubeConfigOptions::default()
    };
    let mut config = match (kubeconfig, context) {
        (Some(file), _) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
        (None, Some(_)) => Config::from_kubeconfig(&options).await?,
        (None, None) => Config::infer().await?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    Ok(Client::try_from(config)?)
}
