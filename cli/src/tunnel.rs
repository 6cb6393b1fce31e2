//! `landbridge tunnel` and `landbridge connector`: both ends of the tunnel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_store::{Admin, Config};
use landbridge_tunnel::PeerIdentity;
use landbridge_tunnel::enrol::{NewToken, create_token};
use secrecy::ExposeSecret;

use crate::args::TunnelCommand;
use crate::output::print;
use crate::proxy::bindings;
use crate::runner::stop_on_signal;
use crate::standalone::embedded::{SUBACCOUNT, subaccount};

/// Where an acceptor keeps its authority and tokens inside a data folder.
pub(crate) fn state_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("tunnel")
}

/// Runs `landbridge tunnel ...`.
///
/// # Errors
/// The token cannot be made.
pub(crate) async fn run(command: TunnelCommand) -> Result<()> {
    let TunnelCommand::CreateToken {
        data_dir,
        tenant,
        tenant_of,
        connector,
        location,
        minutes,
    } = command;
    let tenant = match (tenant.filter(|id| !id.is_empty()), tenant_of) {
        (Some(tenant), _) => tenant,
        (None, Some(key)) => tokio::task::spawn_blocking(move || tenant_of_key(&key)).await??,
        (None, None) => {
            let admin = Admin::open(&Config::new(&data_dir))
                .await
                .context("opening the embedded store")?;
            subaccount(&admin, SUBACCOUNT).await?
        }
    };
    let identity = PeerIdentity::new(&tenant, &connector, location.as_deref())?;
    let new = NewToken {
        identity,
        ttl: Duration::from_secs(minutes * 60),
    };
    let token = tokio::task::spawn_blocking(move || create_token(&state_dir(&data_dir), &new)).await??;
    print(token.expose_secret());
    Ok(())
}

/// The subaccount that a service key is of: the tenant under which proxies with that key look for connectors.
fn tenant_of_key(file: &Path) -> Result<String> {
    let (binding, _) = bindings::read(file).map_err(anyhow::Error::msg)?;
    let tenant = binding.text("tenantid").filter(|id| !id.is_empty());
    tenant.map(str::to_owned).with_context(|| {
        format!(
            "the service key {} does not say its subaccount (\"tenantid\"); name it with --tenant",
            file.display()
        )
    })
}

/// Runs `landbridge connector run`.
///
/// # Errors
/// Wrong configuration (all mistakes at once), a refused enrolment, or a port in use.
pub(crate) async fn run_connector(file: &Path) -> Result<()> {
    let config = landbridge_connector::Config::load(file, |name| std::env::var(name).ok())?;
    let shutdown = Shutdown::new();
    let connector = landbridge_connector::run(config, shutdown.clone());
    tokio::pin!(connector);
    tokio::select! {
        result = &mut connector => return result.map_err(Into::into),
        result = stop_on_signal(shutdown) => result?,
    }
    connector.await.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_is_that_of_the_service_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.json");
        let key = |more: &str| {
            format!(r#"{{"clientid":"c","clientsecret":"hunter2","url":"http://h","uri":"http://h"{more}}}"#)
        };
        for (content, expected) in [
            (key(r#","tenantid":"1f2e""#), Ok("1f2e")),
            // As a binding is mounted.
            (
                format!(r#"{{"credentials":{}}}"#, key(r#","tenantid":"1f2e""#)),
                Ok("1f2e"),
            ),
            (key(""), Err("name it with --tenant")),
            (key(r#","tenantid":"""#), Err("name it with --tenant")),
            ("{".to_owned(), Err("is no service key")),
        ] {
            std::fs::write(&file, &content).unwrap();
            match (tenant_of_key(&file), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{content}"),
                (Err(error), Err(part)) => {
                    let error = error.to_string();
                    assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
                }
                (found, _) => panic!("{content}: {found:?}"),
            }
        }
        let missing = tenant_of_key(Path::new("/nonexistent/key.json"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("/nonexistent/key.json"), "{missing}");
    }
}
