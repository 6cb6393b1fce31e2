//! The charts, rendered by the real Helm: what users may set, what comes out, and what a real API server says of it.
//!
//! Values files of each chart lie in a folder of its name here; everything that is said of "every values file" is said of
//! those. `cargo xtask test --only charts` runs this.

mod bad_values;
mod cluster;
mod connectivity;
mod landbridge;
mod modes;
mod notes;
mod rights;
mod values;
