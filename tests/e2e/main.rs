//! Behaviour across rooms: real processes of the real binary, real sockets, real targets.

mod bad_input;
mod cluster_proxy;
mod configuration;
mod demo;
mod failures;
mod foreign_peers;
mod internet;
mod on_premise;
mod proxy_edges;
mod service_channels;
mod store_admin;
mod store_process;
mod tokens;
mod tour;
