//! Key and trust stores that destinations name: kept as they were given, read when they are used.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landbridge_destination::keystore::{self, KeyStore, KeyStoreError};
use landbridge_destination::properties::keys;
use landbridge_destination::{Authentication, Certificate, DestinationConfig};
use moka::sync::Cache;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::db::{Kind, Place};
use crate::records::{Record, RecordError, Records, Stored};
use crate::tokens::Identity;

/// The type of every entry (seed L13462).
pub(crate) const TYPE: &str = "CERTIFICATE";

/// Longest name, in characters, as that of a destination, and room for the ending.
const NAME_LIMIT: usize = 210;

/// Endings of names, by which clients tell the format (seed L6213, L8979, L35257).
const ENDINGS: [&str; 7] = ["jks", "p12", "pfx", "pem", "crt", "cer", "der"];

/// Identities that are kept ready.
const READY: u64 = 1000;

/// Key stores that are opened at a time: each takes up to a second of processor time.
const OPENING: usize = 2;

/// An entry.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CertificateEntry {
    #[serde(rename = "Name")]
    pub(crate) name: String,
    /// Always [`TYPE`].
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    /// Base64 of the file; may hold a private key.
    #[serde(rename = "Content")]
    pub(crate) content: String,
}

impl fmt::Debug for CertificateEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CertificateEntry({})", self.name)
    }
}

impl Stored for CertificateEntry {
    const KIND: Kind = Kind::Certificate;

    fn name(&self) -> &str {
        &self.name
    }
}

/// An entry that is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidCertificate {
    #[error(
        "the name of a certificate must be 1 to {NAME_LIMIT} letters, digits, '.', '_' or '-', and end in .jks, .p12, .pfx, .pem, .crt, .cer or .der"
    )]
    Name,
    #[error("the Type of a certificate is {TYPE}; send that, or leave it out")]
    Type,
    #[error("the Content is no base64; send the file encoded in it")]
    Base64,
    #[error("the Content is larger than {} bytes; split the file", keystore::MAX_BYTES)]
    TooLarge,
    #[error("the Content is empty")]
    Empty,
}

impl CertificateEntry {
    /// Checks what the store accepts on write. A password is not known here, so the content is not opened.
    pub(crate) fn validate(&self) -> Result<(), InvalidCertificate> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let ending = self.name.rsplit_once('.').map(|(_, ending)| ending);
        let known = |ending: &str| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
        if self.name.len() > NAME_LIMIT || !self.name.chars().all(plain) || !ending.is_some_and(known) {
            return Err(InvalidCertificate::Name);
        }
        if self.kind != TYPE {
            return Err(InvalidCertificate::Type);
        }
        if self.content.len() / 4 * 3 > keystore::MAX_BYTES {
            return Err(InvalidCertificate::TooLarge);
        }
        let content = STANDARD
            .decode(&self.content)
            .map_err(|_| InvalidCertificate::Base64)?;
        if content.is_empty() {
            return Err(InvalidCertificate::Empty);
        }
        Ok(())
    }
}

/// Why a key store cannot be used, in words for the administrator of the destination.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(
        "there is no certificate named \"{0}\" where the destination is; upload it, or correct the property"
    )]
    Missing(String),
    #[error("certificate \"{name}\": {error}")]
    Unreadable { name: String, error: KeyStoreError },
    #[error("certificate \"{0}\" has no private key; upload one that has")]
    NoKey(String),
    #[error("certificate \"{0}\" could not be opened; try again")]
    Busy(String),
}

/// The entries of all tenants, with the identities that were used lately.
#[derive(Debug)]
pub(crate) struct Certificates {
    records: Records<CertificateEntry>,
    /// By version and password: another password never gets what the right one has opened.
    ready: Cache<(String, [u8; 32]), Arc<Identity>>,
    opening: Semaphore,
}

impl Certificates {
    pub(crate) fn new(records: Records<CertificateEntry>) -> Self {
        Self {
            records,
            ready: Cache::new(READY),
            opening: Semaphore::new(OPENING),
        }
    }

    /// Where the entries themselves are.
    pub(crate) fn records(&self) -> &Records<CertificateEntry> {
        &self.records
    }

    /// The key with its certificates that an entry holds: the first one, if there are several.
    pub(crate) async fn identity(
        &self,
        place: &Place,
        name: &str,
        password: Option<SecretString>,
    ) -> Result<Arc<Identity>, CertificateError> {
        let record = self.find(place, name).await?;
        let record = record.ok_or_else(|| CertificateError::Missing(name.to_owned()))?;
        let key = (record.etag.clone(), fingerprint(password.as_ref()));
        if let Some(identity) = self.ready.get(&key) {
            return Ok(identity);
        }
        let store = self.open(&record.value, password).await?;
        let entry = store.entries.into_iter().next();
        let entry = entry.ok_or_else(|| CertificateError::NoKey(name.to_owned()))?;
        let identity = Arc::new(Identity::new(entry.chain, entry.key));
        self.ready.insert(key, Arc::clone(&identity));
        Ok(identity)
    }

    /// Opens an entry, off the event loop.
    async fn open(
        &self,
        entry: &CertificateEntry,
        password: Option<SecretString>,
    ) -> Result<KeyStore, CertificateError> {
        let busy = || CertificateError::Busy(entry.name.clone());
        let _turn = self.opening.acquire().await.map_err(|_| busy())?;
        let (name, content) = (entry.name.clone(), entry.content.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let bytes = STANDARD
                .decode(content)
                .map_err(|_| KeyStoreError::Format("its base64 is broken"))?;
            keystore::read(&name, &bytes, password.as_ref())
        });
        opened.await.map_err(|_| busy())?.map_err(|error| {
            let name = entry.name.clone();
            CertificateError::Unreadable { name, error }
        })
    }

    /// The entry of that name where the destination is, or else on the subaccount level above it.
    async fn find(
        &self,
        place: &Place,
        name: &str,
    ) -> Result<Option<Arc<Record<CertificateEntry>>>, RecordError> {
        if let Some(record) = self.records.get(place, name).await? {
            return Ok(Some(record));
        }
        if place.owner.is_empty() {
            return Ok(None);
        }
        let above = Place::subaccount(place.subaccount_id.clone());
        self.records.get(&above, name).await
    }

    /// The entries that go into a find answer (D11, seed L13441-L13467), and their versions. One that does not exist is
    /// left out: the client says which is missing when it needs it.
    pub(crate) async fn for_answer(
        &self,
        place: &Place,
        config: &DestinationConfig,
        without_tokens: bool,
    ) -> Result<Option<Vec<Certificate>>, RecordError> {
        let names = named_by(config, without_tokens);
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            if let Some(record) = self.find(place, name).await? {
                found.push(Certificate {
                    name: record.value.name.clone(),
                    content: record.value.content.clone().into(),
                    kind: record.value.kind.clone(),
                });
            }
        }
        Ok(Some(found).filter(|found| !found.is_empty()))
    }
}

/// Which entries a client needs for itself: its certificate and whom to trust; and what a token is fetched with, when the
/// store does not fetch it (later API).
fn named_by(config: &DestinationConfig, without_tokens: bool) -> Vec<&str> {
    let kind = config.authentication();
    let client = kind == Authentication::ClientCertificateAuthentication;
    let own = client || kind == Authentication::OAuth2SAMLBearerAssertion;
    let provided = config
        .text(keys::KEY_STORE_SOURCE)
        .is_some_and(|source| source.eq_ignore_ascii_case("ClientProvided"));
    let wanted = [
        (client && !provided, config.key_store()),
        (own, config.trust_store()),
        (without_tokens, config.text(keys::TOKEN_SERVICE_KEY_STORE)),
    ];
    let mut names = Vec::with_capacity(wanted.len());
    for (_, name) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
        if let Some(name) = name.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    names
}

fn fingerprint(password: Option<&SecretString>) -> [u8; 32] {
    use aws_lc_rs::digest::{SHA256, digest};
    let mut fingerprint = [0; 32];
    if let Some(password) = password {
        fingerprint.copy_from_slice(digest(&SHA256, password.expose_secret().as_bytes()).as_ref());
    }
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_needs_t09() {
        let config = |properties: &[(&str, &str)]| properties.iter().copied().collect::<DestinationConfig>();
        let client = [
            ("Authentication", "ClientCertificateAuthentication"),
            ("KeyStoreLocation", "keystore.jks"),
            ("TrustStoreLocation", "truststore.jks"),
        ];
        assert_eq!(
            named_by(&config(&client), false),
            ["keystore.jks", "truststore.jks"]
        );
        let provided = [client.as_slice(), &[("KeyStore.Source", "ClientProvided")]].concat();
        assert_eq!(named_by(&config(&provided), false), ["truststore.jks"]);
        let saml = [
            ("Authentication", "OAuth2SAMLBearerAssertion"),
            ("KeyStoreLocation", "signing.p12"),
            ("TrustStoreLocation", "trust.pem"),
        ];
        assert_eq!(named_by(&config(&saml), false), ["trust.pem"]);
        let token = [
            ("Authentication", "OAuth2ClientCredentials"),
            ("tokenService.KeyStoreLocation", "mtls.p12"),
        ];
        assert!(named_by(&config(&token), false).is_empty());
        assert_eq!(named_by(&config(&token), true), ["mtls.p12"]);
    }

    #[test]
    fn what_is_kept() {
        let entry = |name: &str, kind: &str, content: &str| CertificateEntry {
            name: name.to_owned(),
            kind: kind.to_owned(),
            content: content.to_owned(),
        };
        assert_eq!(entry("a-b_c.d.P12", TYPE, "AAAA").validate(), Ok(()));
        let long = format!("{}.pem", "x".repeat(NAME_LIMIT));
        let large = "AAAA".repeat(keystore::MAX_BYTES / 3 + 1);
        for (name, kind, content, problem) in [
            ("a", TYPE, "AAAA", InvalidCertificate::Name),
            ("a.txt", TYPE, "AAAA", InvalidCertificate::Name),
            ("a/b.pem", TYPE, "AAAA", InvalidCertificate::Name),
            (long.as_str(), TYPE, "AAAA", InvalidCertificate::Name),
            ("a.pem", "KEY", "AAAA", InvalidCertificate::Type),
            ("a.pem", TYPE, "-", InvalidCertificate::Base64),
            ("a.pem", TYPE, "", InvalidCertificate::Empty),
            ("a.pem", TYPE, large.as_str(), InvalidCertificate::TooLarge),
        ] {
            assert_eq!(entry(name, kind, content).validate(), Err(problem), "{name}");
        }
    }
}
