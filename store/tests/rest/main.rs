//! The store as its clients see it: a real server on loopback, a real HTTP client, real token services.

mod crud;
mod durability;
mod find;
mod oauth_server;
mod support;
mod tokens;
