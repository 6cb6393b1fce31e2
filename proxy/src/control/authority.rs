//! Whom to believe that it is the operator, or a gateway: the authority that this process was started with, and those
//! that the operator has told of since.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use landbridge_runtime::tls;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use super::error::ControlError;
use super::link::read;

const WHAT: &str = "the operator's authority";

/// Where the certificates are that the operator's own is checked against (PEM).
#[derive(Clone, Debug)]
pub enum Authority {
    /// A file, read again at each connection.
    File(PathBuf),
    /// The text itself, for pods that cannot mount it: ConfigMaps are of one namespace.
    Pem(Arc<str>),
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Pem(_) => formatter.write_str("LANDBRIDGE_OPERATOR_CA_PEM"),
        }
    }
}

/// Authorities that the operator has told of: what a process was started with may be older than they. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Learned(Arc<ArcSwap<Vec<CertificateDer<'static>>>>);

impl Learned {
    /// From now on these, instead of those before.
    pub(crate) fn replace(&self, authorities: Vec<CertificateDer<'static>>) {
        self.0.store(Arc::new(authorities));
    }
}

/// All that are trusted, each once.
///
/// # Errors
/// The file cannot be read, or what was given is no certificate, and nothing was learned.
pub(crate) async fn trusted(
    given: &Authority,
    learned: &Learned,
) -> Result<Vec<CertificateDer<'static>>, ControlError> {
    let learned = learned.0.load_full();
    let mut all = match certificates(given).await {
        Ok(given) => given,
        // What was learned is newer than what is broken here.
        Err(error) if !learned.is_empty() => {
            tracing::debug!(%error, "trusting what the operator told");
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    for authority in learned.iter() {
        if !all.contains(authority) {
            all.push(authority.clone());
        }
    }
    Ok(all)
}

/// The same, for the TLS library.
///
/// # Errors
/// As [`trusted`].
pub(crate) async fn roots(given: &Authority, learned: &Learned) -> Result<RootCertStore, ControlError> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted(given, learned).await? {
        roots
            .add(certificate)
            .map_err(|error| unusable(given, error.to_string()))?;
    }
    Ok(roots)
}

async fn certificates(given: &Authority) -> Result<Vec<CertificateDer<'static>>, ControlError> {
    let parsed = match given {
        Authority::File(path) => tls::certificates(&read(WHAT, path).await?),
        Authority::Pem(text) => tls::certificates(text.as_bytes()),
    };
    parsed.map_err(|error| unusable(given, error.to_string()))
}

fn unusable(given: &Authority, reason: String) -> ControlError {
    ControlError::File {
        what: WHAT,
        path: given.to_string().into(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    fn authority() -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[tokio::test]
    async fn what_is_learned_is_trusted_too() {
        let (old, new) = (authority(), authority());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        std::fs::write(&file, &old).unwrap();
        for given in [Authority::File(file.clone()), Authority::Pem(old.clone().into())] {
            let learned = Learned::default();
            assert_eq!(trusted(&given, &learned).await.unwrap().len(), 1);
            let both = tls::certificates(format!("{new}{old}").as_bytes()).unwrap();
            learned.clone().replace(both.clone());
            assert_eq!(
                trusted(&given, &learned).await.unwrap().len(),
                2,
                "the old one once"
            );
            learned.replace(both[..1].to_vec());
            assert_eq!(
                trusted(&given, &learned).await.unwrap().len(),
                2,
                "what was given stays"
            );
        }
    }

    #[tokio::test]
    async fn says_what_is_wrong() {
        let (missing, learned) = (Authority::File("/nowhere/ca.crt".into()), Learned::default());
        let error = roots(&missing, &learned).await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.crt"), "{error}");
        let mine = Authority::Pem("mine".into());
        let error = roots(&mine, &learned).await.unwrap_err().to_string();
        assert!(
            error.contains("LANDBRIDGE_OPERATOR_CA_PEM") && error.contains("BEGIN CERTIFICATE"),
            "{error}"
        );
        learned.replace(tls::certificates(authority().as_bytes()).unwrap());
        assert_eq!(roots(&missing, &learned).await.unwrap().len(), 1);
    }
}
