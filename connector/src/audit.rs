//! The audit log: who asked for what and whether it was allowed (case A-22). Written as log events of the target
//! `audit`, so that they can be sent to a place of their own.

use std::net::SocketAddr;

use landbridge_tunnel::{ChannelName, OpenRequest};

use crate::config::AuditLevel;

/// Longest resource in an audit line in characters.
const MAX_RESOURCE: usize = 1024;

/// Writes audit lines at a level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audit {
    pub(crate) level: AuditLevel,
}

impl Audit {
    /// A system was asked for that is not exposed, or not in this way.
    pub(crate) fn system_denied(self, tunnel: &str, request: &OpenRequest) {
        if self.level != AuditLevel::Off {
            let (system, request_id) = (system(request), request.request_id().unwrap_or_default());
            let protocol = request.protocol().as_str();
            tracing::warn!(target: "audit", level = "security", event = "access-denied", tunnel, system, protocol, request_id);
        }
    }

    /// A stream to a system was allowed.
    pub(crate) fn system_allowed(self, tunnel: &str, request: &OpenRequest) {
        if self.level == AuditLevel::All {
            let (system, request_id) = (system(request), request.request_id().unwrap_or_default());
            let protocol = request.protocol().as_str();
            tracing::info!(target: "audit", level = "all", event = "access-allowed", tunnel, system, protocol, request_id);
        }
    }

    /// A client was connected to a service of the cluster.
    pub(crate) fn channel_opened(
        self,
        tunnel: &str,
        service: &ChannelName,
        client: SocketAddr,
        request_id: &str,
    ) {
        if self.level == AuditLevel::All {
            tracing::info!(target: "audit", level = "all", event = "channel-opened", tunnel, %service, %client, request_id);
        }
    }

    /// The cluster refused a client.
    pub(crate) fn channel_refused(
        self,
        tunnel: &str,
        service: &ChannelName,
        client: SocketAddr,
        request_id: &str,
    ) {
        if self.level != AuditLevel::Off {
            tracing::warn!(target: "audit", level = "security", event = "channel-refused", tunnel, %service, %client, request_id);
        }
    }

    /// A request for a resource was denied.
    pub(crate) fn resource_denied(self, tunnel: &str, request: &OpenRequest, method: &str, path: &str) {
        if self.level != AuditLevel::Off {
            let (system, resource) = (system(request), cut(path));
            tracing::warn!(target: "audit", level = "security", event = "access-denied", tunnel, system, method, resource);
        }
    }

    /// A request for a resource was allowed.
    pub(crate) fn resource_allowed(self, tunnel: &str, request: &OpenRequest, method: &str, path: &str) {
        if self.level == AuditLevel::All {
            let (system, resource) = (system(request), cut(path));
            tracing::info!(target: "audit", level = "all", event = "access-allowed", tunnel, system, method, resource);
        }
    }
}

fn system(request: &OpenRequest) -> String {
    format!("{}:{}", request.host(), request.port())
}

fn cut(path: &str) -> &str {
    path.char_indices()
        .nth(MAX_RESOURCE)
        .map_or(path, |(end, _)| &path[..end])
}
