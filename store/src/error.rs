//! Why a store does not start or an administrative call fails.

use std::path::PathBuf;

use landbridge_runtime::listener::BindError;
use landbridge_runtime::problems::InvalidConfig;
use landbridge_runtime::tls::TlsError;

use crate::backup::BackupError;
use crate::db::DbError;
use crate::vault::VaultError;

/// Failure of the store as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings; exit code 64.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// A listening socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// Encryption at rest.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Certificates for outgoing calls.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file or directory.
    #[error("{what} {path}: {source}; check that it exists and that this user may use it")]
    File {
        /// What it is for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The signing keys of the authorization server.
    #[error("the signing keys cannot be used: {0}")]
    SigningKey(String),
    /// A name or id that cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// Something of that name exists.
    #[error("{0} exists already; choose another name or use the one there is")]
    Exists(String),
    /// Something would take other things with it.
    #[error("{0} still has {1}; delete those first, or say that they go too")]
    NotEmpty(String, String),
    /// Something does not exist.
    #[error("{0} does not exist; create it first")]
    NotFound(String),
    /// What a service instance is configured with (seed L11653-L11656, verbatim).
    #[error(
        "Failed to create all provided configurations. Will delete all on instance level, for configurations on \
         subaccount level you can set policies to handle duplicates: \"existing_destinations_policy\" with value \
         \"update|fail|ignore\" and \"existing_certificates_policy\" with value \"fail|ignore\". Causes: {0}"
    )]
    NotConfigured(String),
    /// Something that a bootstrap file says.
    #[error("{place}: {error}")]
    Bootstrap {
        /// Where in the file.
        place: String,
        /// What is wrong.
        #[source]
        error: Box<Self>,
    },
    /// A backup.
    #[error("{path} {error}")]
    Backup {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: BackupError,
    },
    /// Anything of the system.
    #[error("the system failed: {0}")]
    System(#[from] std::io::Error),
}
