//! Destinations from a gateway, which asks the store for us: for sidecars. No credential of a store is in an
//! application's pod; what comes is what one route needs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use landbridge_destination::gateway::{ResolveAnswer, ResolveRequest};
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use tokio::time::{Instant, sleep};

use super::Query;
use super::source::{Asked, Asking, Binder};
use crate::certificate::Certificate;
use crate::failure::{Failure, Kind};
use crate::resolved::{Plan, Resolved};

mod link;
mod metrics;

use link::Link;

/// Pause between two questions to gateways that are away.
const AGAIN: Duration = Duration::from_millis(250);

/// Where gateways are, and how they are known.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Name or address of the gateways; usually of their Service.
    pub host: String,
    /// Port on which they answer.
    pub port: u16,
    /// Ours.
    pub certificate: Certificate,
}

/// Asks gateways.
pub(super) struct GatewaySource {
    link: Link,
    /// Answers of the gateway's cache that are older than this will not do.
    fresh: Duration,
}

impl GatewaySource {
    pub(super) fn new(settings: GatewaySettings, fresh: Duration) -> std::io::Result<Self> {
        Ok(Self {
            link: Link::new(settings)?,
            fresh,
        })
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        self.link.metrics().register(registry);
    }

    pub(super) async fn ask(&self, query: &Query, asking: &Asking, binder: &Binder) -> Asked {
        let until = Instant::now() + asking.patience;
        loop {
            let at = Instant::now();
            let asked = match self.call(query, asking, at).await {
                Ok(answer) => understood(answer, query, at, binder),
                Err(failure) => failed(failure, at),
            };
            // Also a gateway's own word that it does not know the route yet.
            let away = matches!(&asked.result, Err(failure) if failure.kind == Kind::GatewayUnavailable);
            if !away || at >= until {
                return asked;
            }
            sleep(AGAIN).await;
        }
    }

    async fn call(&self, query: &Query, asking: &Asking, now: Instant) -> Result<ResolveAnswer, Failure> {
        let request = request(query, asking, self.fresh, now)?;
        let json = serde_json::to_vec(&request)
            .map_err(|error| unavailable(format!("the question cannot be written: {error}")))?;
        let (status, body) = self.link.post(Bytes::from(json)).await?;
        if status != StatusCode::OK {
            let text: String = String::from_utf8_lossy(&body).chars().take(400).collect();
            return Err(unavailable(format!("it answered {status}: {}", text.trim())));
        }
        // The error's text could quote a credential.
        serde_json::from_slice(&body).map_err(|error| {
            unavailable(format!(
                "its answer cannot be read ({:?} error)",
                error.classify()
            ))
        })
    }
}

/// What to ask. The answer must have been asked for after the last change that was heard of, and not be older than what we
/// would keep ourselves.
fn request(query: &Query, asking: &Asking, fresh: Duration, now: Instant) -> Result<ResolveRequest, Failure> {
    let route = query.route.clone().ok_or_else(|| {
        Failure::new(
            Kind::DestinationUnusable,
            "a gateway answers for routes only; this look-up names none",
        )
    })?;
    let age = asking
        .since
        .map_or(fresh, |since| now.saturating_duration_since(since).min(fresh));
    let refused = asking.refused.as_ref().and_then(|value| value.to_str().ok());
    Ok(ResolveRequest {
        route,
        chain: query.selector.chain.clone(),
        tenant: query.tenant.clone(),
        refused: refused.map(SecretString::from),
        fresh_ms: Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    })
}

fn understood(answer: ResolveAnswer, query: &Query, at: Instant, binder: &Binder) -> Asked {
    let destination = match answer {
        ResolveAnswer::Resolved(destination) => destination,
        ResolveAnswer::CarriedByGateway { reason } => {
            return failed(Failure::new(Kind::CarriedByGateway, reason), at);
        }
        ResolveAnswer::Failed { kind, message } => return failed(told(&kind, message), at),
    };
    let (outdated, certificates) = (destination.outdated, destination.certificates.clone());
    // Lifetimes are counted from before the question.
    let result: Result<Arc<Resolved>, Failure> =
        Plan::told(*destination, at).and_then(|plan| binder.bind(plan, &query.selector.name));
    Asked {
        result,
        at,
        outdated,
        certificates,
    }
}

/// A failure as the gateway has it, so that applications hear the same from both.
fn told(kind: &str, message: String) -> Failure {
    match Kind::of_code(kind) {
        Some(kind) => Failure::new(kind, message),
        None => unavailable(format!(
            "it says '{kind}', which this version does not know: {message}"
        )),
    }
}

fn failed(failure: Failure, at: Instant) -> Asked {
    Asked {
        result: Err(failure),
        at,
        outdated: false,
        certificates: Vec::new(),
    }
}

fn unavailable(what: String) -> Failure {
    Failure::new(
        Kind::GatewayUnavailable,
        format!(
            "no gateway can be asked for the destination: {what}; check that gateways run and listen for sidecars (--resolve-listen)"
        ),
    )
}

/// The value of a credential's header.
pub(crate) fn credential_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests;
