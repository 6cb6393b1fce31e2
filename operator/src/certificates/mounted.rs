//! Certificates that somebody else makes, such as cert-manager, and that are mounted as files: read, judged, shown, and
//! exchanged when the files change.
//!
//! An authority that is exchanged must be known to proxies before a certificate of it is shown. So it is published first,
//! beside the former one, and the old certificate is shown for some minutes more.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error as TlsError};
use secrecy::SecretString;

use super::CertificateConfig;
use super::pem::{BUNDLE, Broken, Judge, LEAF, LEAF_KEY, certificates_of, certified_key, life_of};
use super::renewal::Life;

mod follow;

pub use follow::{FollowError, Follower, follower};

/// Longest file. A chain of RSA certificates has about 8 KiB.
const MAX_FILE: u64 = 1 << 20;

/// The folder, and what a certificate in it must be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedConfig {
    /// Folder with `tls.crt`, `tls.key` and `ca.crt`.
    pub folder: PathBuf,
    /// Namespace the operator is installed in.
    pub namespace: String,
    /// Names by which proxies and the API server call it; a certificate must have all of them.
    pub names: Vec<String>,
}

impl MountedConfig {
    /// A folder for what the operator would make itself otherwise. The long name of its Service may be missing: its last
    /// part differs between clusters, and nobody insists on it.
    pub fn of(folder: &Path, config: &CertificateConfig) -> Self {
        let mut names = config.names();
        names.retain(|name| !name.ends_with(".svc.cluster.local"));
        Self {
            folder: folder.to_owned(),
            namespace: config.namespace.clone(),
            names,
        }
    }
}

/// Files that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A file is not there, or cannot be read.
    #[error(
        "{file} in {folder} cannot be read: {reason}; mount the Secret of the Certificate there, with tls.crt, tls.key and ca.crt"
    )]
    File {
        /// Its name.
        file: &'static str,
        /// Where it should be.
        folder: String,
        /// Why.
        reason: String,
    },
    /// There is no authority.
    #[error(
        "ca.crt has no certificate, so that proxies would not know whom to trust: use an issuer that tells its authority (CA, \
         SelfSigned, Vault), not a public one"
    )]
    NoAuthority,
    /// No certificate or key.
    #[error("{0}; let the issuer make the Secret again")]
    Broken(#[from] Broken),
    /// The time is over.
    #[error(
        "the certificate ended at {0}: see why it was not renewed (`kubectl describe certificate -A`), and compare the clock"
    )]
    Expired(Timestamp),
    /// The time has not come.
    #[error("the certificate counts from {0} on: compare the clocks of issuer and node")]
    NotYet(Timestamp),
    /// It is for others.
    #[error("the certificate is not for {missing}: the Certificate must have the dnsNames {wanted}")]
    Names {
        /// What it lacks.
        missing: String,
        /// What it must have.
        wanted: String,
    },
    /// Clients will not take it.
    #[error(
        "proxies would not take the certificate: {0}; ca.crt must be the authority that signed tls.crt, and what is between \
         them belongs into tls.crt"
    )]
    Untrusted(String),
}

/// Content of the three files.
#[derive(Debug, Clone)]
pub struct Files {
    /// `tls.crt`.
    pub leaf: String,
    /// `tls.key`.
    pub key: SecretString,
    /// `ca.crt`.
    pub bundle: String,
}

/// Files that can be used.
#[derive(Debug, Clone)]
pub struct Mounted {
    certified: Arc<CertifiedKey>,
    authorities: Vec<String>,
    life: Life,
    authority_until: i64,
}

impl Mounted {
    /// Judges the files as proxies will at the time `now`.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn read(files: &Files, names: &[String], now: i64) -> Result<Self, Unusable> {
        let authorities = certificates_of(BUNDLE, &files.bundle)?;
        let mut authority_until = i64::MAX;
        for pem in &authorities {
            authority_until = authority_until.min(life_of(BUNDLE, pem)?.until);
        }
        if authorities.is_empty() {
            return Err(Unusable::NoAuthority);
        }
        let life = life_of(LEAF, &files.leaf)?;
        let certified = certified_key((LEAF, &files.leaf), (LEAF_KEY, &files.key))?;
        if life.is_over(now) {
            return Err(Unusable::Expired(moment(life.until)));
        }
        if life.from > now {
            return Err(Unusable::NotYet(moment(life.from)));
        }
        judge(&certified, &authorities.concat(), names, now)?;
        Ok(Self {
            certified: Arc::new(certified),
            authorities,
            life,
            authority_until,
        })
    }

    /// Less than a tenth is left. Issuers renew when a third is left, unless told otherwise.
    fn ends_soon(&self, now: i64) -> bool {
        let whole = self.life.until.saturating_sub(self.life.from);
        self.life.until.saturating_sub(now).saturating_mul(10) < whole
    }

    /// Who has only `bundle` takes this certificate too.
    fn is_taken_with(&self, bundle: &str, names: &[String], now: i64) -> bool {
        judge(&self.certified, bundle, names, now).is_ok()
    }
}

fn judge(certified: &CertifiedKey, bundle: &str, names: &[String], now: i64) -> Result<(), Unusable> {
    let judge = Judge::new(bundle)?;
    let mut missing = String::new();
    for name in names {
        match judge.accepts(&certified.cert, name, now) {
            Ok(()) => {}
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {
                let comma = if missing.is_empty() { "" } else { ", " };
                let _ = write!(missing, "{comma}{name}");
            }
            Err(other) => return Err(Unusable::Untrusted(other.to_string())),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = names.join(", ");
    Err(Unusable::Names { missing, wanted })
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Reads the files of a folder. A kubelet exchanges all of them at once, by turning the link `..data`: what is behind it
/// belongs together.
///
/// # Errors
/// [`Unusable::File`] for the first that cannot be read.
pub fn read_folder(folder: &Path) -> Result<Files, Unusable> {
    let at_once = std::fs::canonicalize(folder.join("..data"));
    let at_once = at_once.unwrap_or_else(|_| folder.to_owned());
    let text = |file: &'static str| {
        let failed = |reason: String| Unusable::File {
            file,
            folder: folder.display().to_string(),
            reason,
        };
        let opened = std::fs::File::open(at_once.join(file)).map_err(|error| failed(error.to_string()))?;
        let mut text = String::new();
        opened
            .take(MAX_FILE + 1)
            .read_to_string(&mut text)
            .map_err(|error| failed(error.to_string()))?;
        if text.len() as u64 > MAX_FILE {
            return Err(failed("it is longer than 1 MiB".to_owned()));
        }
        Ok(text)
    };
    Ok(Files {
        leaf: text(LEAF)?,
        key: SecretString::from(text(LEAF_KEY)?),
        bundle: text(BUNDLE)?,
    })
}

#[cfg(test)]
mod tests;
