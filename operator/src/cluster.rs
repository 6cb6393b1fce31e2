//! In a cluster: watches of the API server in, Services, EndpointSlices, NetworkPolicies, statuses and Events out, and
//! routes for the proxies over the serve API.

pub mod apply;
pub mod children;
pub mod client;
pub mod controller;
pub mod events;
pub mod lease;
pub mod metrics;
pub mod model;
pub mod observed;
pub mod policies;
pub mod policy;
pub mod ports;
pub mod proxies;
pub mod queue;
pub mod stores;
pub mod watch;
