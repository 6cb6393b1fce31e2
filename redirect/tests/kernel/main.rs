//! Against the real kernel, each test in a network namespace of its own.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod drift;
mod namespace;
mod node;
mod proxy;
mod rules;
mod sidecar;
mod tool;
