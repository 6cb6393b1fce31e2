//! A real Kubernetes cluster for tests: nodes with containerd, kubelet and kube-proxy, each in namespaces of its own.
//!
//! Nothing of it is seen by the machine: network, mounts and processes are in private namespaces, which end with the
//! process that has started them, however that ends; only cgroups and one folder are left to be removed, which a small
//! cleaner does. Addresses are of ranges that no network routes (RFC 2544, RFC 5737); no packet leaves.
//!
//! ```text
//!  company (203.0.113.2, inside 10.77.0.10)          node2 (198.51.100.2)
//!        │ firewall: out only                          │
//!  ──────┴── 203.0.113.1 ── node1 (bridge 198.51.100.1) ── pods 198.18.N.0/24, Services 198.19.0.0/16
//! ```
//!
//! The suites use [`Cluster`]; `cargo xtask cluster up` starts one that stays ([`standing`]). Linux only, root only:
//! [`unable`] says what is missing.

mod addresses;
mod cluster;
mod company;
mod files;
mod machine;
mod namespaces;
mod requirements;
mod running;
pub mod standing;

pub use cluster::{Cluster, Node};
pub use company::Company;
pub use landbridge_control_plane::Ended;
pub use requirements::unable;

/// Which of its two ways kube-proxy uses to program the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KubeProxy {
    /// The default of Kubernetes.
    #[default]
    Iptables,
    /// Its successor.
    Nftables,
}

/// What a cluster is like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How Services are made.
    pub kube_proxy: KubeProxy,
}

/// Builds the programs and the image that a cluster needs, where that has not been done: after those of the control plane
/// 3 minutes on two cores.
///
/// # Errors
/// [`MissingTools`](landbridge_control_plane::MissingTools) (to be found with `downcast_ref`) when Go is not installed;
/// anything else when a build fails.
pub fn build(progress: landbridge_control_plane::Progress<'_>) -> anyhow::Result<()> {
    running::Needs::find(progress).map(drop)
}

// A monotonic clock; the ban is for code that tests want to run on tokio's paused time.
#[allow(clippy::disallowed_types, reason = "real processes take real time")]
pub(crate) type Clock = std::time::Instant;

/// Waits a moment between two looks at something.
#[allow(
    clippy::disallowed_methods,
    reason = "everything that blocks here runs on a thread that may"
)]
pub(crate) fn pause(length: std::time::Duration) {
    std::thread::sleep(length);
}
