//! The connector's side of an enrolment, and the files it leaves.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::dial::{DialError, Dialer};
use landbridge_runtime::tls::TlsError;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ClientConfig;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::token::{self, ParsedToken, TokenError};
use super::{EnrolAnswer, EnrolRequest, MAX_MESSAGE, VERSION};
use crate::dialer::ServerAddress;
use crate::tls::{HANDSHAKE_DEADLINE, client_config, enrolling_config, pin_of};
use crate::{files, frame};

/// Deadline of the exchange after TLS.
const DEADLINE: Duration = Duration::from_secs(20);
/// Deadline of the connection.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// Why a connector has no identity.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The acceptor cannot be reached.
    #[error("cannot reach the acceptor: {0}")]
    Dial(#[from] DialError),
    /// The acceptor's name cannot be a name in a certificate.
    #[error("{name:?} cannot be a server name: {source}")]
    ServerName {
        /// The name.
        name: String,
        /// Why.
        source: InvalidDnsNameError,
    },
    /// TLS failed: most often another authority than the token's, or a name that is not in the certificate.
    #[error(
        "no trusted connection to the acceptor ({0}); check that the token was made for this acceptor and that its server names include the configured one"
    )]
    Tls(io::Error),
    /// The connection broke. The acceptor uses a token up before it answers, so the token may be gone.
    #[error(
        "the enrolment was interrupted ({0}); trying again, and if the token is then refused, a new one is needed"
    )]
    Broken(io::Error),
    /// The acceptor said no.
    #[error("the enrolment was refused: {0}")]
    Refused(String),
    /// The acceptor said not now.
    #[error("the enrolment has to wait: {0}")]
    Later(String),
    /// The answer is not acceptable.
    #[error("the acceptor's answer cannot be used: {0}")]
    Answer(String),
    /// A key cannot be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    /// A file cannot be written.
    #[error("cannot write {}: {source}; the folder must exist or be creatable, and belong to this user", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The files of the identity cannot be used.
    #[error("{0}; restore the file, or delete the identity folder and enrol again")]
    Unusable(#[from] TlsError),
    /// TLS material was refused.
    #[error("the identity cannot be used: {0}; delete the identity folder and enrol again")]
    Rustls(#[from] rustls::Error),
}

impl EnrolError {
    /// Whether trying again with the same token can help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Broken(_) | Self::Later(_) => true,
            // rustls reports a certificate or a peer that it does not accept as invalid data; everything else is the
            // connection, or an acceptor that is just starting or full.
            Self::Tls(error) => error.kind() != io::ErrorKind::InvalidData,
            _ => false,
        }
    }
}

/// Where a connector keeps its identity.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdentityFiles {
    dir: PathBuf,
}

/// An identity read from files.
#[derive(Debug)]
pub struct LoadedIdentity {
    /// The TLS configuration to dial with.
    pub tls: Arc<ClientConfig>,
    /// When the certificate expires, seconds since 1970.
    pub not_after: i64,
}

impl IdentityFiles {
    /// The identity in this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The private key.
    pub fn key(&self) -> PathBuf {
        self.dir.join("key.pem")
    }

    /// The certificate of the connector.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("cert.pem")
    }

    /// The authority of the acceptor.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Whether the connector is enrolled. The certificate is written last, so with it everything is there.
    pub fn exist(&self) -> bool {
        self.certificate().exists()
    }

    /// Reads the identity. Blocks on files.
    pub fn load(&self) -> Result<LoadedIdentity, EnrolError> {
        use landbridge_runtime::tls::{read_certificates, read_key};
        let chain = read_certificates(&self.certificate())?;
        let key = read_key(&self.key())?;
        let authority = read_certificates(&self.authority())?;
        let unreadable =
            || EnrolError::Answer(format!("{} is not a certificate", self.certificate().display()));
        let not_after = {
            let leaf = chain.first().ok_or_else(unreadable)?;
            let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| unreadable())?;
            leaf.validity().not_after.timestamp()
        };
        let authority = authority.first().ok_or_else(unreadable)?;
        let tls = Arc::new(client_config(authority, chain, key)?);
        Ok(LoadedIdentity { tls, not_after })
    }

    fn write(&self, path: PathBuf, content: &[u8]) -> Result<(), EnrolError> {
        files::write_private(&path, content).map_err(|source| EnrolError::File { path, source })
    }
}

/// Enrols with a one-time token and writes the identity. `server_name` is what the acceptor's certificate must
/// carry.
pub async fn enrol(
    dialer: &Dialer,
    server: &ServerAddress,
    server_name: &str,
    token: &SecretString,
    identity: &IdentityFiles,
) -> Result<(), EnrolError> {
    let token = token::parse(token)?;
    // Before the token is used up: the folder can be written, and the key is safe in it.
    let (key_pem, csr) = new_key()?;
    files::create_private_dir(&identity.dir).map_err(|source| EnrolError::File {
        path: identity.dir.clone(),
        source,
    })?;
    identity.write(identity.key(), key_pem.expose_secret().as_bytes())?;
    let answer = exchange(dialer, server, server_name, &token, &csr).await?;
    if let Some(message) = answer.refused {
        let message = message.chars().take(512).collect();
        return Err(if answer.again {
            EnrolError::Later(message)
        } else {
            EnrolError::Refused(message)
        });
    }
    let (Some(certificate), Some(authority)) = (answer.certificate, answer.authority) else {
        return Err(EnrolError::Answer(
            "the certificate or the authority is missing".to_owned(),
        ));
    };
    // The authority came over a connection that was verified by the pin; the hash must be the same all the same.
    let parsed = landbridge_runtime::tls::certificates(authority.as_bytes())?;
    if parsed.first().map(pin_of) != Some(token.pin) {
        return Err(EnrolError::Answer(
            "it names another authority than the token".to_owned(),
        ));
    }
    identity.write(identity.authority(), authority.as_bytes())?;
    identity.write(identity.certificate(), certificate.as_bytes())?;
    identity.load().map(drop)
}

fn new_key() -> Result<(SecretString, String), EnrolError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key)?.pem()?;
    Ok((SecretString::from(key.serialize_pem()), csr))
}

async fn exchange(
    dialer: &Dialer,
    server: &ServerAddress,
    server_name: &str,
    token: &ParsedToken,
    csr: &str,
) -> Result<EnrolAnswer, EnrolError> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(|source| EnrolError::ServerName {
        name: server_name.to_owned(),
        source,
    })?;
    let socket = dialer.connect(&server.host, server.port, DIAL_DEADLINE).await?;
    let connector = TlsConnector::from(Arc::new(enrolling_config(token.pin)?));
    let handshake = timeout(HANDSHAKE_DEADLINE, connector.connect(name, socket)).await;
    let mut tls = handshake
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(EnrolError::Tls)?;
    let request = EnrolRequest {
        version: VERSION,
        token: Cow::Borrowed(&token.id),
        secret: Cow::Borrowed(token.secret.expose_secret()),
        csr: Cow::Borrowed(csr),
    };
    let mut message = serde_json::to_vec(&request).map_err(|error| EnrolError::Broken(error.into()))?;
    let talk = async {
        frame::write(&mut tls, &message).await?;
        frame::read(&mut tls, MAX_MESSAGE).await
    };
    let answer = timeout(DEADLINE, talk)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    message.zeroize();
    serde_json::from_slice(&answer.map_err(EnrolError::Broken)?)
        .map_err(|error| EnrolError::Answer(error.to_string()))
}
