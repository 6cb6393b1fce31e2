//! The store as its clients see it: a real server on loopback, a real HTTP client, real token services.

// Clippy knows test functions, but not the helpers they share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod crud;
mod durability;
mod feed;
mod find;
mod kinds;
mod oauth_server;
mod openapi;
mod slow_tokens;
mod support;
mod tls;
mod tokens;
