//! Where everything is kept: SQLite in one file, or PostgreSQL for several replicas. Every statement is written once and
//! runs on both.
//!
//! A write has reached the disk when its call returns: what was acknowledged survives a crash.

pub mod archive;
mod connection;
mod error;
mod events;
mod items;
mod labels;
mod meta;
mod migrate;
mod postgres;
mod rows;
mod sqlite;
mod tenants;

pub use connection::Database;
pub use error::DbError;
pub use events::{Action, Changes, KEPT_EVENTS, News};
pub use items::NewItem;
pub(crate) use items::Seen;
pub use rows::{
    ClientRow, EventRow, HeadRow, InstanceRow, ItemRow, Kind, LabelRow, Place, ServiceKeyRow, SigningKeyRow,
    SubaccountRow, Written,
};
pub use sqlite::{DATABASE_FILE, OpenOptions};

/// Now, as the database writes it.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests;
