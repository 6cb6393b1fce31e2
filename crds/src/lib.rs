//! Room: crds.
