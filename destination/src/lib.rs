//! Room: destination.
