//! Control plane: from declared destinations to routes of the proxies, and what became of them.
//!
//! In the order the data flows: [`manifest`] reads declarations, [`source`] watches a folder of them, [`lookup`] asks
//! the store, [`ports`] gives each a port, [`plan`] decides, [`standalone`] ties this together without a cluster.

pub mod admission;
pub mod certificates;
pub mod channels;
pub mod check;
pub mod cluster;
pub mod conditions;
pub mod explain;
pub mod injection;
pub mod lookup;
pub mod manifest;
pub mod plan;
pub mod ports;
pub mod reach;
pub mod serve;
pub mod source;
pub mod standalone;
pub mod workloads;
