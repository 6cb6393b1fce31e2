//! What a gateway tells a sidecar of a destination, and what the sidecar makes of it. What is told is made from what the
//! data path uses, never from the destination's properties: there is no field in which a client's secret could travel.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use landbridge_destination::gateway::{
    ResolvedCredential, ResolvedDestination, ResolvedTarget, ResolvedTrust,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::{Credential, Plan, Resolved};
use crate::failure::{Failure, Kind};
use crate::resolve::gateway::credential_value;
use crate::target::Target;
use crate::upstream::{Trust, UpstreamKey, Way};

impl Resolved {
    /// For a sidecar, at the time `now`; nothing for what only gateways can carry. `roots` are those that the gateway trusts
    /// beside the public ones, as PEM.
    pub(crate) fn tell(&self, roots: &str, now: Instant) -> Option<ResolvedDestination> {
        let key = &self.upstream.key;
        if key.way != Way::Internet {
            return None;
        }
        let target = match &self.target {
            Some(target) => ResolvedTarget::Http {
                url: target.url(),
                queries: target.queries(),
            },
            None => ResolvedTarget::Tcp {
                host: key.host.clone(),
                port: key.port,
            },
        };
        let trust = match &key.trust {
            Trust::Plain => ResolvedTrust::Plain,
            Trust::All => ResolvedTrust::All,
            Trust::Roots if roots.is_empty() => ResolvedTrust::Roots,
            Trust::Roots => ResolvedTrust::Custom(roots.to_owned()),
            Trust::Custom(pem) => ResolvedTrust::Custom(format!("{pem}\n{roots}")),
        };
        let headers = self.headers.iter().filter_map(|(name, value)| {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        Some(ResolvedDestination {
            name: self.name.clone(),
            target,
            trust,
            headers: headers.collect(),
            credential: self
                .credential
                .as_ref()
                .and_then(|credential| credential.tell(now)),
            connect_timeout_ms: millis(self.connect_timeout),
            read_timeout_ms: millis(self.read_timeout),
            outdated: false,
            certificates: Vec::new(),
        })
    }
}

impl Credential {
    fn tell(&self, now: Instant) -> Option<ResolvedCredential> {
        Some(ResolvedCredential {
            name: self.name.as_str().to_owned(),
            value: SecretString::from(self.value.to_str().ok()?),
            holds_ms: self
                .expires
                .map(|expires| millis(expires.saturating_duration_since(now))),
            renewable: self.renewable,
        })
    }

    /// `asked` is before the question: the way to us counts as a part of its life.
    fn told(credential: &ResolvedCredential, asked: Instant) -> Option<Self> {
        Some(Self {
            name: HeaderName::from_bytes(credential.name.as_bytes()).ok()?,
            value: credential_value(credential.value.expose_secret())?,
            expires: credential
                .holds_ms
                .map(|holds| asked + Duration::from_millis(holds)),
            renewable: credential.renewable,
        })
    }
}

impl Plan {
    /// What a gateway told when it was asked at `asked`.
    ///
    /// # Errors
    /// It cannot be used; its version does not fit ours.
    pub(crate) fn told(told: ResolvedDestination, asked: Instant) -> Result<Self, Failure> {
        let name = told.name;
        let unusable = |what: String| {
            let message = format!("destination '{name}' cannot be used as the gateway told it: {what}");
            Failure::new(Kind::DestinationUnusable, message)
        };
        let (target, host, port) = match told.target {
            ResolvedTarget::Http { url, queries } => {
                let queries = queries
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()));
                let target = Target::new(&url, queries).map_err(|error| unusable(error.to_string()))?;
                let (host, port) = (target.host.clone(), target.port);
                (Some(target), host, port)
            }
            ResolvedTarget::Tcp { host, port } => (None, host, port),
        };
        let trust = match told.trust {
            ResolvedTrust::Plain => Trust::Plain,
            ResolvedTrust::Roots => Trust::Roots,
            ResolvedTrust::Custom(pem) => Trust::Custom(pem.into()),
            ResolvedTrust::All => Trust::All,
        };
        let is_tls = target.as_ref().is_some_and(Target::is_tls);
        if is_tls != (trust != Trust::Plain) {
            return Err(unusable("its URL and its trust do not fit".to_owned()));
        }
        let mut headers = Vec::with_capacity(told.headers.len());
        for (name, value) in &told.headers {
            let header = HeaderName::from_bytes(name.as_bytes()).ok();
            let header = header.zip(HeaderValue::from_bytes(value.as_bytes()).ok());
            headers.push(header.ok_or_else(|| unusable(format!("its header '{name}' is none")))?);
        }
        let credential = match &told.credential {
            None => None,
            Some(credential) => {
                let read = Credential::told(credential, asked);
                Some(read.ok_or_else(|| unusable("its credential is no header".to_owned()))?)
            }
        };
        let key = UpstreamKey {
            way: Way::Internet,
            trust,
            host,
            port,
        };
        Ok(Self {
            key,
            name,
            target,
            headers,
            credential,
            connect_timeout: Duration::from_millis(told.connect_timeout_ms),
            read_timeout: Duration::from_millis(told.read_timeout_ms),
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
