//! What the store can be told. Built once by its user, checked in one go.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use landbridge_runtime::problems::{InvalidConfig, Problems};
use rustls_pki_types::CertificateDer;
use secrecy::SecretString;
use url::Url;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Settings of the store.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the REST API listens. Without [`tls`](Self::tls) in plain HTTP: loopback, unless something that ends TLS
    /// stands before it.
    pub listen: SocketAddr,
    /// Certificate of the REST API, which then listens in TLS only. Service keys with a client certificate need it.
    pub tls: Option<TlsFiles>,
    /// Where health, readiness and metrics are served; `None`: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Directory of the database and, unless told otherwise, the key file. Made with mode 0700 if missing.
    pub data_dir: PathBuf,
    /// File of the key-encryption key; `None`: `store.key` in the data directory, made at the first start.
    pub key_file: Option<PathBuf>,
    /// A PostgreSQL database in place of a file in the data directory, `postgres://user:password@host/name`: for several
    /// stores at a time. It needs a key file that all of them have.
    pub database_url: Option<SecretString>,
    /// Address clients use, also the issuer of tokens; `None`: `http://` and the bound address.
    pub public_url: Option<String>,
    /// Let destinations with `ProxyType=Internet` use token services at private and loopback addresses. Off, because
    /// whoever may write destinations could otherwise reach what only this process reaches.
    pub allow_private_token_services: bool,
    /// PEM files of authorities that are trusted beside the public ones when token services are called.
    pub additional_cas: Vec<PathBuf>,
    /// How tokens are signed.
    pub token_algorithm: TokenAlgorithm,
    /// How long tokens live: 60 s to 24 h.
    pub token_life: Duration,
    /// How long a key signs tokens before another one does: 1 to 3650 days.
    pub signing_key_age: Duration,
    /// Bounds of everything that grows.
    pub limits: Limits,
}

/// PEM files of a server certificate. Read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key, not encrypted.
    pub key: PathBuf,
}

/// Signature of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenAlgorithm {
    /// ECDSA P-256 with SHA-256: small, and made ten times as fast.
    Es256,
    /// RSA 2048 with SHA-256: what the original service signs with, and the only one that some of its libraries read.
    #[default]
    Rs256,
}

/// Bounds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// Most destinations in one request.
    pub max_batch: usize,
    /// Most destinations of one subaccount or instance.
    pub max_destinations: u32,
    /// Most certificates of one subaccount or instance.
    pub max_certificates: u32,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most requests at a time; more are answered 503 at once.
    pub max_requests: usize,
    /// Most calls of one client each second, calls for tokens included; five seconds' worth of them may come at once. More
    /// are answered 429 until the client has waited. 0: as many as a client likes.
    pub client_rate: u32,
    /// How long a find waits for a token service. Below the 10 s after which clients of the store give up, so that they
    /// read why there is no token; the retrieval itself goes on.
    pub token_patience: Duration,
    /// Most finds of one subaccount that wait for token services at a time, and most token requests of it that wait for
    /// identity providers; more are answered 503 at once.
    pub max_token_waits: usize,
    /// Most bodies of one subaccount that are received at a time; more are answered 503 at once.
    pub max_uploads: usize,
    /// Most change feeds at a time; one subaccount may have a quarter of them. More are answered 503 at once.
    pub max_feeds: usize,
    /// Bytes of memory for records that were read, for each kind of them. 10 000 destinations take some 20 MB.
    pub cache_bytes: u64,
    /// Largest database file of SQLite; `None`: as the disk allows.
    pub max_database_bytes: Option<u64>,
    /// How long a client may take to send a request's head, and then its body.
    pub receive: Duration,
    /// How long requests in flight may take after the stop was asked for.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 4 << 20,
            max_batch: 1000,
            max_destinations: 100_000,
            max_certificates: 2000,
            max_connections: 4096,
            max_requests: 1024,
            // Ten times what a client without a cache of its own needs; a tenth of what one core answers.
            client_rate: 2000,
            token_patience: Duration::from_secs(8),
            max_token_waits: 64,
            max_uploads: 64,
            max_feeds: 256,
            cache_bytes: 256 << 20,
            max_database_bytes: None,
            receive: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// The usual settings with data in `data_dir`: loopback, any free port.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            tls: None,
            admin_listen: None,
            data_dir: data_dir.into(),
            key_file: None,
            database_url: None,
            public_url: None,
            allow_private_token_services: false,
            additional_cas: Vec::new(),
            token_algorithm: TokenAlgorithm::default(),
            // 12 h, as the seed's tokens (43199 s, L12366).
            token_life: Duration::from_secs(12 * 3600),
            signing_key_age: Duration::from_secs(90 * DAY),
            limits: Limits::default(),
        }
    }

    /// Checks everything and reads the certificates.
    ///
    /// # Errors
    /// Every mistake.
    pub(crate) fn check(&self) -> Result<Checked, InvalidConfig> {
        let mut problems = Problems::new();
        if self.data_dir.as_os_str().is_empty() {
            problems.add("data_dir", "is empty; name a directory");
        }
        let public_url = self
            .public_url
            .as_deref()
            .and_then(|text| problems.take("public_url", base_url(text)));
        let mut additional_cas = Vec::new();
        for (index, path) in self.additional_cas.iter().enumerate() {
            let read = landbridge_runtime::tls::read_certificates(path);
            additional_cas.extend(
                problems
                    .take(format!("additional_cas[{index}]"), read)
                    .unwrap_or_default(),
            );
        }
        let life = self.token_life.as_secs();
        if !(60..=86_400).contains(&life) {
            problems.add("token_life", format_args!("is {life} s; choose 60 s to 86400 s"));
        }
        let age = self.signing_key_age.as_secs();
        if !(DAY..=3650 * DAY).contains(&age) {
            problems.add(
                "signing_key_age",
                format_args!("is {age} s; choose 1 to 3650 days"),
            );
        }
        for (name, value) in [
            ("limits.max_body", self.limits.max_body),
            ("limits.max_batch", self.limits.max_batch),
            ("limits.max_destinations", self.limits.max_destinations as usize),
            ("limits.max_certificates", self.limits.max_certificates as usize),
            ("limits.max_connections", self.limits.max_connections),
            ("limits.max_requests", self.limits.max_requests),
            ("limits.max_token_waits", self.limits.max_token_waits),
            ("limits.max_uploads", self.limits.max_uploads),
            ("limits.max_feeds", self.limits.max_feeds),
        ] {
            if value == 0 {
                problems.add(name, "is 0; nothing would work");
            }
        }
        problems.finish(Some(Checked {
            public_url,
            additional_cas,
        }))
    }
}

/// What checking found.
pub(crate) struct Checked {
    pub(crate) public_url: Option<Url>,
    pub(crate) additional_cas: Vec<CertificateDer<'static>>,
}

/// Reads the base address of a store: http or https, nothing after the path.
///
/// # Errors
/// What is wrong with it.
pub fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("\"{text}\" is no address ({error}); write https://host"))?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain || url.password().is_some() {
        return Err("must be http:// or https://, a host and at most a path".to_owned());
    }
    Ok(url)
}

/// Without the slash that parsing adds.
pub(crate) fn url_text(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The name of the host in an address.
pub(crate) fn url_host(address: &str) -> Option<String> {
    Url::parse(address).ok()?.host_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_in_one_run() {
        let mut config = Config::new("");
        config.public_url = Some("ftp://x".into());
        config.additional_cas = vec!["/nonexistent/ca.pem".into()];
        config.token_life = Duration::from_secs(1);
        config.limits.max_body = 0;
        let invalid = config.check().err().unwrap();
        let fields: Vec<&str> = invalid
            .problems()
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        assert_eq!(
            fields,
            [
                "data_dir",
                "public_url",
                "additional_cas[0]",
                "token_life",
                "limits.max_body"
            ]
        );
        assert!(Config::new("/data").check().is_ok());
    }
}
