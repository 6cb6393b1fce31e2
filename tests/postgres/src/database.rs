//! One database of a test.

use crate::ROLE;

/// An empty database, owned by a role that is no superuser and logs in with a password (SCRAM-SHA-256).
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) password: String,
}

impl Database {
    /// Its URL, with the password.
    pub fn url(&self) -> String {
        self.url_with(&self.password)
    }

    /// Its URL with another password.
    pub fn url_with(&self, password: &str) -> String {
        format!(
            "postgres://{ROLE}:{password}@127.0.0.1:{}/{}",
            self.port, self.name
        )
    }

    /// The password of its owner, to look for where it must not be.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }
}
