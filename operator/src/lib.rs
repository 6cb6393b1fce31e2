//! Control plane: from declared destinations to routes of the proxies, and what became of them.
//!
//! In the order the data flows: [`manifest`] reads declarations, [`source`] watches a folder of them, [`lookup`] asks
//! the store, [`ports`] gives each a port, [`plan`] decides, [`standalone`] ties this together without a cluster.

pub mod lookup;
pub mod manifest;
pub mod plan;
pub mod ports;
pub mod source;
pub mod standalone;
