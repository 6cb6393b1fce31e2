//! A node in network namespaces: pods, a gateway, something that does what kube-proxy does, and the systems outside; with
//! the real binary in all of it, and no cluster.

mod calls;
mod landscape;
mod metrics;
mod network;
mod targets;
mod world;

pub use calls::{Call, Outcome, carry_out};
pub use landscape::{Entry, LANDSCAPE, entry};
pub use metrics::{Samples, delta, number, total};
pub use network::{Family, KubeProxy, Network, Wiring};
pub use targets::{BULK, STREAM, Targets, bulk_digest, digest};
pub use world::{Addressed, Beside, Mode, Options, World};
