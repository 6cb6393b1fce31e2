//! What every long-running Landbridge process needs, each as one small module: stop in an orderly way, tell whether
//! it is ready, listen, dial, copy bytes, speak TLS, publish metrics and logs.
//!
//! This room is a leaf: it knows nothing of destinations, tunnels or Kubernetes.

pub mod admin;
pub mod bucket;
pub mod copy;
pub mod dial;
pub mod http_client;
pub mod listener;
pub mod metrics;
pub mod problems;
pub mod readiness;
pub mod redact;
pub mod shares;
pub mod shutdown;
pub mod signal;
pub mod telemetry;
pub mod tls;
