//! How the gateway runs. Built once, by whoever starts it.

use std::net::IpAddr;
use std::time::Duration;

use landbridge_runtime::dial::AddressPolicy;
use rustls_pki_types::CertificateDer;

use crate::resolve::cache::CachePolicy;

/// Settings of the gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address the routes' ports are opened on.
    pub bind: IpAddr,
    /// The setting that chose the address and ports; named when one cannot be opened.
    pub bind_setting: String,
    /// Which addresses Internet destinations may have.
    pub targets: AddressPolicy,
    /// Roots trusted beside the public ones.
    pub additional_roots: Vec<CertificateDer<'static>>,
    /// How long destinations are used before the store is asked again.
    pub cache: CachePolicy,
    /// Most connections from applications at one time, all routes together.
    pub max_connections: usize,
    /// How long requests in flight may take once the proxy stops.
    pub drain: Duration,
}

impl Config {
    /// The defaults, on `bind`.
    pub fn new(bind: IpAddr) -> Self {
        Self {
            bind,
            bind_setting: "the bind address".to_owned(),
            targets: AddressPolicy::NoLocal,
            additional_roots: Vec::new(),
            cache: CachePolicy::default(),
            max_connections: 20_000,
            drain: Duration::from_secs(25),
        }
    }
}
