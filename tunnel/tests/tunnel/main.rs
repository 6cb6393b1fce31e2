//! Both ends of the tunnel over real sockets.
// A test that cannot go on must fail.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod channels;
mod enrolment;
mod streams;
mod support;
mod survival;
