//! Interception in network namespaces: the real binary, real rules of the kernel, no cluster.

mod equality;
mod node;
mod page;
mod scenarios;
mod sidecar;
mod steady;
