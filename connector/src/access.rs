//! What is exposed. Pure decisions: nothing is allowed that is not listed.

mod path;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use path::{Ambiguous, NormalPath};

/// How the internal host is spoken to (seed L21101).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SystemProtocol {
    /// HTTP.
    Http,
    /// HTTP over TLS; the cloud side speaks plain HTTP all the same.
    Https,
    /// Bytes.
    Tcp,
    /// Bytes in TLS that the connector makes (seed L21467).
    Tcps,
}

impl SystemProtocol {
    /// Whether requests are checked one by one.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Whether the connector speaks TLS to the internal host.
    pub const fn uses_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tcps)
    }

    /// The port that is left out of URLs.
    pub const fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp | Self::Tcps => None,
        }
    }
}

/// Which host the back end finds in `Host` (seed L21181).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HostInHeader {
    /// The virtual one.
    #[default]
    Virtual,
    /// The internal one; the virtual one stands in `X-Forwarded-Host`.
    Internal,
}

/// What "path and all sub-paths" means.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PrefixMatch {
    /// Whole segments: `/a` covers `/a` and `/a/b`, not `/ab`.
    #[default]
    Segment,
    /// Letters, as the vendor has it (seed L21224): `/a` covers `/ab` too.
    String,
}

/// A path that may be called.
#[derive(Clone, Debug)]
pub struct Resource {
    path: NormalPath<'static>,
    exact: bool,
    enabled: bool,
    upgrades: bool,
}

/// Why a path cannot be a resource.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadResource {
    /// Not absolute.
    #[error("{0:?} must begin with /")]
    Relative(String),
    /// With a query.
    #[error("{0:?} must not have a query; what stands after ? is never looked at")]
    Query(String),
    /// Two readers could understand it differently.
    #[error("{path:?} is ambiguous: {why}")]
    Ambiguous {
        /// The path.
        path: String,
        /// What is ambiguous.
        why: Ambiguous,
    },
    /// Could be written in a simpler way.
    #[error("{0:?} has empty or dot segments; write it without")]
    NotNormal(String),
}

impl Resource {
    /// A resource: only this path when `exact`, else its sub-paths too.
    pub fn new(path: &str, exact: bool) -> Result<Self, BadResource> {
        if !path.starts_with('/') {
            return Err(BadResource::Relative(path.to_owned()));
        }
        if path.contains('?') {
            return Err(BadResource::Query(path.to_owned()));
        }
        let normal = NormalPath::new(path).map_err(|why| BadResource::Ambiguous {
            path: path.to_owned(),
            why,
        })?;
        if normal.was_changed() {
            return Err(BadResource::NotNormal(path.to_owned()));
        }
        Ok(Self {
            path: normal.into_owned(),
            exact,
            enabled: true,
            upgrades: false,
        })
    }

    /// Whether it counts at all (seed L21241).
    #[must_use]
    pub const fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Whether the protocol may be changed on it, as WebSocket does (seed L21231).
    #[must_use]
    pub const fn upgrades(mut self, allowed: bool) -> Self {
        self.upgrades = allowed;
        self
    }

    fn covers(&self, path: &[u8], prefix: PrefixMatch) -> bool {
        let own = self.path.as_bytes();
        if self.exact || path.len() == own.len() {
            return path == own;
        }
        let Some(rest) = path.strip_prefix(own) else {
            return false;
        };
        prefix == PrefixMatch::String || own.ends_with(b"/") || rest.starts_with(b"/")
    }
}

/// An exposed system.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Name on the cloud side, lower case.
    pub virtual_host: String,
    /// Port on the cloud side.
    pub virtual_port: u16,
    /// Host in the company network.
    pub internal_host: String,
    /// Port in the company network.
    pub internal_port: u16,
    /// What the internal host speaks.
    pub protocol: SystemProtocol,
    /// Which host it finds in `Host`.
    pub host_in_header: HostInHeader,
    /// What sub-paths are.
    pub prefix_match: PrefixMatch,
    /// Authorities to trust for TLS instead of the public ones.
    pub backend_ca: Option<PathBuf>,
    /// What may be called; nothing when empty.
    pub resources: Vec<Resource>,
}

/// The change of protocol that a request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// None.
    No,
    /// To WebSocket, and to nothing else (RFC 6455 section 4.1).
    WebSocket,
    /// To anything else, or to one of several.
    Other,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// The path is not exposed.
    Denied,
    /// The path is exposed, but not for a change of protocol.
    UpgradeDenied,
    /// The path could be understood in two ways.
    Ambiguous(Ambiguous),
}

impl Mapping {
    /// Decides about a request by its path as it stands in the request line, up to the question mark. All methods are
    /// alike (seed L21257). Only WebSocket can be allowed: another HTTP (`h2c`) would carry further requests that nobody
    /// checks.
    pub fn check(&self, raw_path: &str, change: Change) -> Verdict {
        let path = match NormalPath::new(raw_path) {
            Ok(path) => path,
            Err(why) => return Verdict::Ambiguous(why),
        };
        // A back end that does not resolve dot segments sees the path as it was sent, so that one must be exposed too.
        let covered = |resource: &&Resource| {
            resource.enabled
                && resource.covers(path.as_bytes(), self.prefix_match)
                && path
                    .unresolved()
                    .is_none_or(|literal| resource.covers(literal, self.prefix_match))
        };
        let mut covering = self.resources.iter().filter(covered).peekable();
        if covering.peek().is_none() {
            return Verdict::Denied;
        }
        let allowed = match change {
            Change::No => true,
            Change::WebSocket => covering.any(|resource| resource.upgrades),
            Change::Other => false,
        };
        if allowed {
            Verdict::Allowed
        } else {
            Verdict::UpgradeDenied
        }
    }
}

/// The exposed systems by virtual host and port.
#[derive(Clone, Debug, Default)]
pub struct Systems {
    by_port: HashMap<u16, HashMap<String, Arc<Mapping>>>,
    /// In the order of the configuration, which decides about ambiguous redirects (seed L21079).
    in_order: Vec<Arc<Mapping>>,
}

impl Systems {
    /// Takes the mappings; those whose virtual host and port are taken already are returned.
    pub fn new(mappings: Vec<Mapping>) -> (Self, Vec<(String, u16)>) {
        let mut systems = Self::default();
        let mut repeated = Vec::new();
        for mapping in mappings {
            let (host, port) = (mapping.virtual_host.to_ascii_lowercase(), mapping.virtual_port);
            let hosts = systems.by_port.entry(port).or_default();
            if hosts.contains_key(&host) {
                repeated.push((host, port));
                continue;
            }
            let mapping = Arc::new(mapping);
            systems.in_order.push(Arc::clone(&mapping));
            hosts.insert(host, mapping);
        }
        (systems, repeated)
    }

    /// The system of this virtual host (in lower case) and port.
    pub fn find(&self, host: &str, port: u16) -> Option<&Arc<Mapping>> {
        self.by_port.get(&port)?.get(host)
    }

    /// The first system with this internal host and port that is spoken to in this way.
    pub fn find_internal(&self, host: &str, port: u16, tls: bool) -> Option<&Arc<Mapping>> {
        self.in_order.iter().find(|mapping| {
            mapping.protocol.is_http()
                && mapping.protocol.uses_tls() == tls
                && mapping.internal_port == port
                && mapping.internal_host.eq_ignore_ascii_case(host)
        })
    }

    /// All systems, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Mapping>> {
        self.in_order.iter()
    }
}

#[cfg(test)]
mod tests;
