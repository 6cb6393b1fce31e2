//! The model between a cluster in memory, proxies and a store.

mod cluster;
mod frontends;
mod random;
mod restart;
mod roles;
mod shares;
mod world;
mod writes;
