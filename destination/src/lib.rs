//! The domain of Landbridge: destinations, what a find call answers, routes, and the client of the store.

pub mod levels;
pub mod route;
pub mod selector;
