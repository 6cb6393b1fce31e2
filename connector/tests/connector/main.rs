//! A cluster side, a connector and internal hosts in one process, over real sockets.
// A test that cannot go on must fail.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod http;
mod lifecycle;
mod support;
mod tcp;
