//! The three modes on a real node: the same answers, whoever gives them, with kube-proxy in each of its modes; and what
//! callers notice when the parts of a mode end.
//!
//! docs/how-to/choose-a-mode.md promises it; `cargo xtask test --only netns` tries the same without a cluster, and more.

mod answers;
mod node;
mod sidecar;
mod world;
