//! The operator as a process on a real API server, with no more rights than it needs.

mod bad_input;
mod children;
mod election;
mod end_to_end;
mod health;
mod injection;
mod mounted;
mod namespaced;
mod service_channel;
mod store;
mod survival;
mod writes;
