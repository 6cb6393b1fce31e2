//! A real PostgreSQL for the suites: the server of the distribution's package, in a temporary folder, on a free port.
//!
//! It ends with the process that started it, however that ends. Calls wait for programs of PostgreSQL and block the
//! thread; use them from a test or from a blocking task.

mod database;
mod guardian;
mod programs;
mod server;

pub use database::Database;
pub use server::{Server, Stop};

use std::sync::OnceLock;

use anyhow::{Result, anyhow};

/// Role that owns the databases of tests; it is no superuser, so that nothing comes to depend on that.
pub const ROLE: &str = "landbridge";

/// A new, empty database on the one server that all tests of this process share.
///
/// # Errors
/// PostgreSQL 15 or newer is not installed, or does not start; the message says what to do.
pub fn database() -> Result<Database> {
    shared()?.database()
}

/// The server that all tests of this process share: it may not be stopped, since others use it.
fn shared() -> Result<&'static Server> {
    static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
    SHARED
        .get_or_init(|| Server::start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}
