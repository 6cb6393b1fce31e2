//! What is done with one stream: look the system up, connect to the internal host, answer, carry.

use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::copy::CopyLimits;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::{DenyReason, IncomingStream, OpenRequest, Protocol, StreamHandler};

use crate::access::{Mapping, Systems};
use crate::audit::Audit;
use crate::backend::{BackendError, Backends, Connection};
use crate::config::Limits;
use crate::metrics::{ConnectorMetrics, StreamResult};
use crate::{answers, http, tcp};

/// Serves the streams of one tunnel.
#[derive(Clone, Debug)]
pub(crate) struct Handler(pub(crate) Arc<Shared>);

impl std::ops::Deref for Handler {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What all streams of one tunnel use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) tunnel: String,
    pub(crate) systems: Arc<Systems>,
    pub(crate) backends: Arc<Backends>,
    pub(crate) limits: Limits,
    pub(crate) audit: Audit,
    pub(crate) metrics: ConnectorMetrics,
    pub(crate) shutdown: Shutdown,
}

impl StreamHandler for Handler {
    async fn handle(&self, mut stream: IncomingStream) {
        let mapping = match self.admit(stream.request()) {
            Ok(mapping) => mapping,
            Err((reason, text)) => {
                self.audit.system_denied(&self.tunnel, stream.request());
                self.metrics.stream(StreamResult::Denied);
                return stream.deny(reason, &text);
            }
        };
        self.audit.system_allowed(&self.tunnel, stream.request());
        let deadline = self.deadline(stream.request());
        let connected = tokio::select! {
            connected = self.backends.connect(&mapping, deadline) => connected,
            () = stream.abandoned() => return self.metrics.stream(StreamResult::Timeout),
        };
        match connected {
            Ok(backend) => self.serve(stream, backend, mapping).await,
            Err(error) => self.unreachable(stream, &error),
        }
    }
}

impl Handler {
    /// Default deny: the system must be exposed, and for this protocol.
    fn admit(&self, request: &OpenRequest) -> Result<Arc<Mapping>, (DenyReason, String)> {
        let (host, port) = (request.host(), request.port());
        let Some(mapping) = self.systems.find(host, port) else {
            return Err((DenyReason::DeniedSystem, answers::system_denied(host, port)));
        };
        let exposed = if mapping.protocol.is_http() {
            Protocol::Http
        } else {
            Protocol::Tcp
        };
        if exposed == request.protocol() {
            return Ok(Arc::clone(mapping));
        }
        let text = answers::wrong_protocol(host, port, request.protocol().as_str(), exposed.as_str());
        Err((DenyReason::RefusedProtocol, text))
    }

    /// A little less than the opener waits, so that it hears why instead of giving up.
    fn deadline(&self, request: &OpenRequest) -> Duration {
        let asked = request
            .deadline()
            .map_or(self.limits.connect, |deadline| deadline.mul_f64(0.9));
        asked.min(self.limits.connect)
    }

    fn unreachable(&self, stream: IncomingStream, error: &BackendError) {
        let system = format!("{}:{}", stream.request().host(), stream.request().port());
        tracing::warn!(tunnel = self.tunnel, system, %error, "internal host cannot be reached");
        let (reason, result) = if error.is_timeout() {
            (DenyReason::Timeout, StreamResult::Timeout)
        } else {
            (DenyReason::Unreachable, StreamResult::Unreachable)
        };
        self.metrics.stream(result);
        stream.deny(reason, &error.to_string());
    }

    async fn serve(&self, stream: IncomingStream, backend: Connection, mapping: Arc<Mapping>) {
        let request = stream.request().clone();
        let stream = match stream.accept() {
            Ok(stream) => stream,
            Err(error) => {
                return tracing::debug!(%error, "the opener gave up while the internal host was dialled");
            }
        };
        self.metrics.stream(StreamResult::Served);
        self.metrics.active.inc();
        let _active = Active(&self.metrics);
        match request.protocol() {
            Protocol::Tcp => {
                let limits = CopyLimits {
                    idle: self.limits.idle,
                    ..CopyLimits::default()
                };
                tcp::serve(stream, backend, limits).await;
            }
            Protocol::Http => http::serve(self.clone(), stream, backend, mapping, request).await,
        }
    }
}

/// Counts down also when the task is dropped.
struct Active<'a>(&'a ConnectorMetrics);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.dec();
    }
}
