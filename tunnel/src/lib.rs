//! Room: tunnel.
