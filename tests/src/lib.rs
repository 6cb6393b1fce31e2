//! Room: tests.
