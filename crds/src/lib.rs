//! What users declare through Kubernetes: the types, their schema, and the rules a manifest has to keep.
//!
//! The same schema and the same rules hold with and without a cluster: the API server applies the custom resource
//! definition of [`yaml`], everything else calls [`check::manifest`], which is written to say the same.

pub mod actions;
pub mod check;
pub mod conditions;
pub mod destination;
mod schema;
pub mod yaml;

pub use destination::{Destination, DestinationSpec, DestinationStatus};
