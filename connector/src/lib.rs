//! Room: connector.
