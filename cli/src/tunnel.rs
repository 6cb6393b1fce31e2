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
        connector,
        location,
        minutes,
    } = command;
    let tenant = match tenant {
        Some(tenant) => tenant,
        None => {
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
