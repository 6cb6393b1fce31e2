//! A real Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager as processes of
//! their own, in a folder of their own, started in seconds.
//!
//! The suites share one per test process ([`ControlPlane::start`] with [`Life::WithThisProcess`]);
//! `cargo xtask kube up` starts one that stays. Everything here blocks: asynchronous callers use a blocking thread.
//! Linux only. Knows no other room, so that it works while the others do not compile.

mod control_plane;
pub mod credentials;
mod ended;
pub mod flags;
pub mod folders;
mod ports;
mod programs;
mod server;
mod standing;

pub use control_plane::{ControlPlane, Life};
pub use ended::Ended;
pub use ports::free_port;
pub use programs::{ASSETS_VARIABLE, MissingTools, NodePrograms, Programs, Tool, tool};
pub use server::{Server, tail};
pub use standing::{Standing, down, end, remember, stands, up};

use std::time::Duration;

// A monotonic clock; the ban is for code that tests want to run on tokio's paused time.
#[allow(clippy::disallowed_types, reason = "no tokio in this crate")]
pub(crate) type Clock = std::time::Instant;

/// Waits a moment between two looks at something.
#[allow(
    clippy::disallowed_methods,
    reason = "no tokio in this crate: callers bring a thread that may block"
)]
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Where progress of long work is told, one line per call.
pub type Progress<'a> = &'a mut dyn FnMut(&str);
