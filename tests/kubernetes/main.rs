//! Behaviour on a real API server of Kubernetes: definitions, rules, and what the suites themselves rely on.
//!
//! Needs Go or `KUBEBUILDER_ASSETS`; `cargo xtask test --only operator` says *skipped* where there is neither.

mod admission;
mod agreement;
mod certificates;
mod channels;
mod check;
mod control_plane;
mod crds;
mod how_to;
mod operator;
mod serve;
