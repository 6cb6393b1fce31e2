//! The serve API: what the operator tells proxies, and hears from them ([`landbridge_destination::serve`]).
//!
//! In the order a call takes: [`server`] accepts it, [`identity`] finds out who calls, [`api`] answers it, from
//! [`hub`] (what there is to tell) or into [`reports`] (what proxies say of themselves), or with a `certificate`.

use std::net::SocketAddr;

pub mod api;
mod certificate;
pub mod hub;
pub mod identity;
mod metrics;
pub mod reports;
pub mod server;
mod stream;

pub use metrics::ServeMetrics;

/// Which replica writes to the cluster, and so takes reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// This one.
    Leading,
    /// Another one, by its serve address where that is known; or none.
    Following(Option<SocketAddr>),
}

#[cfg(test)]
mod tests;
