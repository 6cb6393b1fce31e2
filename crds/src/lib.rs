//! What users declare through Kubernetes: the types, their schema, and the rules a manifest has to keep.
//!
//! The same schema and the same rules hold with and without a cluster: the API server applies the custom resource
//! definition of [`yaml`], everything else calls [`check::manifest`], which is written to say the same.

pub mod actions;
mod channel_rules;
pub mod check;
pub mod condition;
pub mod conditions;
pub mod destination;
mod schema;
pub mod service_channel;
pub mod service_mapping;
pub mod yaml;

pub use destination::{Destination, DestinationSpec, DestinationStatus};
pub use service_channel::{ChannelStatus, ServiceChannel, ServiceChannelSpec};
pub use service_mapping::{ServiceMapping, ServiceMappingSpec};
