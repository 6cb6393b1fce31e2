//! The store in this process: one subaccount, one service key in a file that only its owner can read.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use landbridge_destination::binding::Binding;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::Readiness;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_store::{Access, Admin, Config, Error, Limits, Store};
use secrecy::ExposeSecret;
use url::Url;
use uuid::Uuid;

use super::parts::Parts;
use super::settings::Settings;

/// Subdomain of the one subaccount.
pub(crate) const SUBACCOUNT: &str = "default";

/// File of the service key in the data folder.
const BINDING: &str = "binding.json";

/// A started store.
pub(super) struct Embedded {
    /// Its address.
    pub url: String,
    /// A service key for it.
    pub binding: Binding,
    /// Where the key is kept.
    pub binding_file: PathBuf,
    /// Id of the subaccount.
    pub tenant: String,
}

/// Starts the store as a task of `shutdown`; `parts` hears when it ends.
///
/// # Errors
/// The port or the data folder cannot be used.
pub(super) async fn start(
    settings: &Settings,
    readiness: Readiness,
    metrics: Metrics,
    shutdown: &Shutdown,
    parts: &mut Parts,
) -> Result<Embedded> {
    let config = Config {
        listen: settings.store_listen,
        allow_private_token_services: settings.allow_local_targets,
        additional_cas: settings.additional_ca.clone(),
        limits: Limits {
            drain: super::BACK_DRAIN,
            ..Limits::default()
        },
        ..Config::new(&settings.data_dir)
    };
    let store = Store::bind_with(config, readiness, metrics)
        .await
        .map_err(|error| name_flag(error, "--store-listen"))?;
    let url = store.url().to_owned();
    let admin = store.admin();
    let tenant = subaccount(&admin, SUBACCOUNT).await?;
    let binding_file = settings.data_dir.join(BINDING);
    let binding = service_key(&admin, &tenant, &url, &binding_file).await?;
    let serving = shutdown.spawn(store.serve(shutdown.clone()));
    parts.watch("the embedded store", serving);
    Ok(Embedded {
        url,
        binding,
        binding_file,
        tenant,
    })
}

/// The error with the flag that chose the address, instead of the library's own name for it.
pub(crate) fn name_flag(error: Error, flag: &str) -> Error {
    match error {
        Error::Bind(mut bind) => {
            flag.clone_into(&mut bind.setting);
            Error::Bind(bind)
        }
        other => other,
    }
}

/// The id of the subaccount with this subdomain, made if it is not there.
///
/// # Errors
/// The database, or a malformed subdomain.
pub(crate) async fn subaccount(admin: &Admin, subdomain: &str) -> Result<String> {
    let known = admin
        .subaccounts()
        .await?
        .into_iter()
        .find(|known| known.subdomain.eq_ignore_ascii_case(subdomain));
    match known {
        Some(known) => Ok(known.id),
        None => Ok(admin.create_subaccount(None, subdomain).await?.id),
    }
}

/// The key of an earlier start, with the address of this one; or a new key.
async fn service_key(admin: &Admin, tenant: &str, url: &str, file: &Path) -> Result<Binding> {
    let address = Url::parse(url)?;
    let known = std::fs::read_to_string(file)
        .ok()
        .and_then(|text| Binding::from_json(&text).ok());
    let binding = match known {
        Some(mut known) if admin.has_service_key(&known.client_id).await? => {
            if known.uri == address && known.url == address {
                return Ok(known);
            }
            known.uri = address.clone();
            known.url = address;
            known
        }
        _ => {
            let name = format!("standalone-{}", Uuid::now_v7().simple());
            admin.create_service_key(tenant, &name, url, Access::Full).await?
        }
    };
    write_private(file, binding.to_json_with_secret().expose_secret())
        .with_context(|| format!("writing the service key to {}", file.display()))?;
    Ok(binding)
}

/// Writes a file that only its owner can read, in one step.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let temporary = file.with_extension("tmp");
    let _ = std::fs::remove_file(&temporary);
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&temporary, file)
}
