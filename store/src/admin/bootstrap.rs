//! A file that says what a store has at least: tenants, instances, keys and what they begin with. Applied at every start;
//! what is there already stays, and nothing is deleted unless the file says `prune: true`.

mod apply;

use std::path::PathBuf;

use serde::Deserialize;

use super::{Admin, InstanceConfig};
use crate::auth::TrustedIssuer;
use crate::error::Error;

/// Largest file read.
const MAX_BYTES: u64 = 4 << 20;

/// What a store has at least.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Bootstrap {
    /// Whether instances, keys, subscriptions, trusted issuers, and destinations and fragments of the subaccount level are
    /// deleted when a subaccount of the file does not name them. Subaccounts never are.
    #[serde(default)]
    pub prune: bool,
    /// Tenants.
    pub subaccounts: Vec<SubaccountSpec>,
    /// Folder that the names of files are relative to.
    #[serde(skip)]
    pub(super) folder: PathBuf,
}

/// A tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SubaccountSpec {
    /// Subdomain.
    pub subdomain: String,
    /// Id; a UUID where there is none.
    pub id: Option<String>,
    /// Service instances.
    #[serde(default)]
    pub instances: Vec<InstanceSpec>,
    /// Identity providers whose users' tokens it trusts.
    #[serde(default)]
    pub trusted_issuers: Vec<TrustedIssuer>,
    /// JSON files with destinations of the subaccount level: one object, or an array of them.
    #[serde(default)]
    pub destinations: Vec<PathBuf>,
    /// JSON files with fragments.
    #[serde(default)]
    pub fragments: Vec<PathBuf>,
}

/// A service instance.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct InstanceSpec {
    /// Name, unique in the tenant.
    pub name: String,
    /// What it is created with. Applied once, when it is made.
    #[serde(default)]
    pub config: Option<InstanceConfig>,
    /// Service keys.
    #[serde(default)]
    pub keys: Vec<KeySpec>,
    /// Subdomains or ids of the tenants that may use it.
    #[serde(default)]
    pub subscribers: Vec<String>,
}

/// A service key that is made once and written to a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KeySpec {
    /// Name, unique in the instance.
    pub name: String,
    /// Where it is written, readable by its owner alone.
    pub file: PathBuf,
    /// It may only find and read.
    #[serde(default)]
    pub read_only: bool,
    /// What it may do, by names of roles; everything where neither this nor `readOnly` is said.
    #[serde(default)]
    pub roles: Vec<String>,
    /// It is proven by a client certificate that is valid for so many days.
    pub certificate_days: Option<u32>,
}

impl Bootstrap {
    /// Reads a file, YAML or JSON. Blocks; call it off the event loop.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::Invalid`] with line and column.
    pub fn read(path: &std::path::Path) -> Result<Self, Error> {
        use std::io::Read as _;
        let failed = |source| Error::File {
            what: "bootstrap file",
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let mut file = std::fs::File::open(path).map_err(failed)?.take(MAX_BYTES + 1);
        file.read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Error::Invalid(format!(
                "{} is larger than 4 MB; split it into several files of destinations",
                path.display()
            )));
        }
        let mut this: Self = serde_saphyr::from_str(&text)
            .map_err(|error| Error::Invalid(format!("the bootstrap file {}: {error}", path.display())))?;
        this.folder = path
            .parent()
            .map(std::path::Path::to_path_buf)
            .unwrap_or_default();
        Ok(this)
    }
}

impl Admin {
    /// Brings about what a file says. Done already is done. `address`: where clients reach the store, for new keys.
    ///
    /// # Errors
    /// [`Error::Bootstrap`] with the place in the file. What was done before it stays, and the next start goes on.
    pub async fn bootstrap(&self, bootstrap: &Bootstrap, address: &str) -> Result<(), Error> {
        let run = apply::Run {
            admin: self,
            bootstrap,
            address,
        };
        run.all().await
    }
}

#[cfg(test)]
mod tests;
