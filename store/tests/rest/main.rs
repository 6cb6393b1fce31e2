//! The store as its clients see it: a real server on loopback, a real HTTP client, real token services.

// Clippy knows test functions, but not the helpers they share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod audit;
mod certificates;
mod chains;
mod conformance;
mod crud;
mod durability;
mod exchange;
mod feed;
mod find;
mod items;
mod kinds;
mod kinds_saml;
mod kinds_users;
mod labels;
mod listing;
mod oauth_server;
mod oidc;
mod openapi;
mod patch;
mod postgres_only;
mod rates;
mod roles;
mod rotation;
mod saml2;
mod samples;
mod slow_tokens;
mod sqlite_only;
mod subscribers;
mod support;
mod tls;
mod tokens;
mod users;
mod writers;
mod x509;
