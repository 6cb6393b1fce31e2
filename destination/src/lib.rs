//! The domain of Landbridge: destinations, what a find call answers, routes, and the client of the store.

pub mod binding;
pub mod channel;
pub mod client;
pub mod error;
pub mod feed;
pub mod find;
pub mod gateway;
pub mod identity;
pub mod keystore;
pub mod levels;
pub mod oauth;
pub mod properties;
pub mod property_file;
pub mod route;
pub mod saml;
pub mod selector;
pub mod serve;
pub mod token_cache;

pub use binding::Binding;
pub use client::{FindQuery, StoreClient};
pub use error::StoreError;
pub use feed::{Feed, FeedChange, FeedError, FeedEvent};
pub use find::{AuthToken, Certificate, FindResponse, HttpHeader, Owner};
pub use identity::WorkloadIdentity;
pub use levels::Level;
pub use properties::{Address, Authentication, DestinationConfig, DestinationKind, ProxyType};
pub use route::{Route, RouteKey, RouteProtocol, RouteSnapshot, RouteState, Scope};
pub use selector::DestinationSelector;
