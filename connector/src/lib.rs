//! Room: the on-premise connector.
//!
//! It runs inside the company network, dials out to the cluster, and serves the streams that come back: each is
//! checked against the exposed systems ([`access`]), connected to the internal host ([`backend`]), and carried as
//! HTTP with a check of every request ([`http`]) or as bytes ([`tcp`]). Nothing is reachable that is not exposed in
//! the configuration ([`config`]). The other way, clients of the company reach services of the cluster through
//! [`channels`].

pub mod access;
pub mod answers;
mod audit;
pub mod backend;
pub mod channels;
pub mod config;
mod handler;
pub mod http;
mod metrics;
mod run;
pub mod tcp;

pub use config::{Config, InvalidConfig};
pub use run::{Error, run};
