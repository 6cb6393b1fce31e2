//! One record per request: it owns the request's metrics and writes them, and the access line, exactly once.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, Uri};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::metrics::RouteMetrics;
use crate::resolved::Resolved;
use landbridge_destination::route::Route;

/// How a request ended.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The answer has been handed over completely.
    Complete,
    /// The application went away first.
    Aborted,
    /// The answer broke off after its head.
    Broken(&'a str),
    /// We answered with an error of our own.
    Failed(&'a Failure),
}

/// What is known of a request so far. Dropped without [`finish`](Self::finish), it counts as aborted.
#[derive(Debug)]
pub struct Record {
    route: Arc<Route>,
    metrics: Arc<RouteMetrics>,
    start: Instant,
    method: Method,
    uri: Uri,
    request_id: HeaderValue,
    resolved: Option<Arc<Resolved>>,
    status: Option<StatusCode>,
    received: u64,
    done: bool,
}

impl Record {
    /// A request has come. Everything kept is shared, nothing is copied.
    pub fn new(
        route: Arc<Route>,
        metrics: Arc<RouteMetrics>,
        method: Method,
        uri: Uri,
        request_id: HeaderValue,
    ) -> Self {
        metrics.in_flight.inc();
        Self {
            route,
            metrics,
            start: Instant::now(),
            method,
            uri,
            request_id,
            resolved: None,
            status: None,
            received: 0,
            done: false,
        }
    }

    /// The id every log line of this request carries.
    pub fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// The route's metrics.
    pub fn metrics(&self) -> &RouteMetrics {
        &self.metrics
    }

    /// Where the request goes.
    pub fn set_resolved(&mut self, resolved: &Arc<Resolved>) {
        self.resolved = Some(Arc::clone(resolved));
    }

    /// What the target answered.
    pub fn set_status(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// So many more bytes of the answer have come.
    pub fn received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// The request has ended. Later calls change nothing.
    pub fn finish(&mut self, outcome: &Outcome<'_>) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        if let Outcome::Failed(failure) = outcome {
            self.status = Some(failure.kind.facts().0);
        }
        let elapsed = self.start.elapsed();
        self.metrics.in_flight.dec();
        self.metrics.request(self.status, outcome, self.received, elapsed);
        let error = match outcome {
            Outcome::Complete => None,
            Outcome::Aborted => Some("aborted by the application".to_owned()),
            Outcome::Broken(why) => Some((*why).to_owned()),
            Outcome::Failed(failure) => Some(failure.to_string()),
        };
        let resolved = self.resolved.as_deref();
        // The query is left out: it may carry secrets.
        tracing::info!(
            target: "access",
            route = %self.route.key,
            destination = resolved.map(|resolved| resolved.name.as_str()),
            upstream = resolved.map(|resolved| tracing::field::display(&resolved.upstream.key)),
            method = %self.method,
            path = self.uri.path(),
            status = self.status.map(|status| status.as_u16()),
            bytes = self.received,
            ms = elapsed.as_secs_f64() * 1e3,
            request_id = self.request_id.to_str().unwrap_or_default(),
            error,
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.finish(&Outcome::Aborted);
    }
}
