//! Against the real kernel, each test in a network namespace of its own.

mod namespace;
mod rules;
mod tool;
