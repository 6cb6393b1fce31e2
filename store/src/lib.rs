//! The destination store: destinations of all tenants behind a REST API, with ready-made tokens, encrypted at rest.

mod admin;
mod api;
mod app;
mod around;
mod audit;
mod auth;
mod backup;
mod certificates;
mod config;
pub mod db;
mod error;
mod fragment;
mod metrics;
mod records;
mod server;
mod storage;
mod store;
#[cfg(test)]
mod testing;
mod tokens;
mod trust;
pub mod vault;

pub use admin::{
    Access, Admin, Adopted, Bootstrap, Credential, InitData, Instance, InstanceConfig, KeyInfo, KeyRotated,
    KeyRotation, LevelData, NewKey, Permissions, Policy, Subaccount,
};
pub use auth::{Role, TrustedIssuer, TrustedIssuerError};
pub use backup::{BackupError, BackupSummary, restore_backup, verify_backup};
pub use config::{Config, Limits, TlsFiles, TokenAlgorithm, base_url};
pub use error::Error;
pub use store::{Store, run};
