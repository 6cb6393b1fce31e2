//! What the command line of `proxy` says, checked as a whole.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use landbridge_destination::binding::Binding;
use landbridge_proxy::control;
use landbridge_proxy::resolve::cache::CachePolicy;
use landbridge_runtime::dial::AddressPolicy;
use landbridge_runtime::http_client::Deadlines;
use landbridge_runtime::listener::{self, BindError};
use landbridge_runtime::problems::{InvalidConfig, Problems};
use landbridge_runtime::tls;
use landbridge_tunnel::AcceptorConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;

use super::args::ProxyArgs;
use super::mode::Mode;
use crate::standalone::settings::listen_or_off;

mod instances;

use instances::{default_instance, instances};

/// A destination service instance.
pub(super) struct Instance {
    pub name: String,
    pub file: PathBuf,
    pub binding: Binding,
    /// Tells a changed file from this one.
    pub digest: u64,
}

/// Checked settings.
pub(super) struct Settings {
    pub mode: Mode,
    pub control: control::Settings,
    pub instances: Vec<Instance>,
    pub default_instance: String,
    pub admin_listen: SocketAddr,
    pub roots: Vec<CertificateDer<'static>>,
    pub store_deadlines: Deadlines,
    pub drain_delay: Duration,
    pub ready_file: Option<PathBuf>,
    listen_address: IpAddr,
    tunnel_listen: Option<SocketAddr>,
    tunnel_names: Vec<String>,
    data_dir: PathBuf,
    allow_local_targets: bool,
    destination_ttl: Duration,
    max_connections: usize,
    drain: Duration,
}

impl Settings {
    /// Checks everything, and reads the service keys.
    ///
    /// # Errors
    /// Every mistake.
    pub(super) fn check(args: &ProxyArgs) -> Result<Self, InvalidConfig> {
        let mut problems = Problems::new();
        let state = args.state_file.clone();
        let control = args.link.settings(&args.operator, state, &mut problems);
        check_files(args, &mut problems);
        let mode = Mode::check(args, &mut problems);
        let instances = if mode.has_stores() {
            instances(args, &mut problems)
        } else {
            Vec::new()
        };
        let default_instance = default_instance(args, &instances, &mut problems);
        let tunnel_listen = listen_or_off(
            "--tunnel-listen",
            &args.tunnel_listen,
            "0.0.0.0:8042",
            &mut problems,
        );
        let mut roots = Vec::new();
        for file in &args.server.additional_ca {
            let read = problems.take("--additional-ca", tls::read_certificates(file));
            roots.extend(read.unwrap_or_default());
        }
        let settings = control.map(|control| Self {
            control,
            mode,
            instances,
            default_instance,
            admin_listen: args.admin_listen,
            roots,
            store_deadlines: args.store_calls.deadlines(),
            drain_delay: Duration::from_secs(args.drain_delay),
            ready_file: args.server.ready_file.clone(),
            listen_address: args.listen_address,
            tunnel_listen,
            tunnel_names: args.tunnel_names.clone(),
            data_dir: args.data_dir.clone(),
            allow_local_targets: args.allow_local_targets,
            destination_ttl: Duration::from_secs(args.destination_ttl),
            max_connections: usize::try_from(args.max_connections).unwrap_or(usize::MAX),
            drain: Duration::from_secs(args.server.drain),
        });
        problems.finish(settings)
    }

    /// Opens the admin endpoint. On a node, where there is one network for all, the next version of this proxy opens the
    /// same port before this one ends.
    ///
    /// # Errors
    /// The port is in use.
    pub(super) async fn bind_admin(&self) -> Result<TcpListener, BindError> {
        const SETTING: &str = "--admin-listen";
        if matches!(self.mode, Mode::Node { .. }) {
            return listener::bind_shared(self.admin_listen, SETTING);
        }
        listener::bind(self.admin_listen, SETTING).await
    }

    /// Settings of the gateway.
    pub(super) fn gateway(&self) -> landbridge_proxy::Config {
        landbridge_proxy::Config {
            bind_setting: "--listen-address, and the operator's --port-range".to_owned(),
            targets: self.targets(),
            additional_roots: self.roots.clone(),
            cache: CachePolicy {
                fresh: self.destination_ttl,
                ..CachePolicy::default()
            },
            max_connections: self.max_connections,
            drain: self.drain,
            ..landbridge_proxy::Config::new(self.listen_address)
        }
    }

    /// Which addresses destinations and service channels may lead to.
    pub(super) fn targets(&self) -> AddressPolicy {
        if self.allow_local_targets {
            AddressPolicy::Any
        } else {
            AddressPolicy::NoLocal
        }
    }

    /// How long what is in flight may take once the proxy stops.
    pub(super) const fn drain(&self) -> Duration {
        self.drain
    }

    /// Settings of the acceptor of connectors, if there is to be one.
    pub(super) fn acceptor(&self) -> Option<AcceptorConfig> {
        let dir = crate::tunnel::state_dir(&self.data_dir);
        self.tunnel_listen
            .map(|listen| AcceptorConfig::new(listen, dir, self.tunnel_names.clone()))
    }
}

/// That what is mounted is there. The files are read when they are needed, and replaced while the proxy runs. The
/// authority may come later: the operator writes it when it starts for the first time.
fn check_files(args: &ProxyArgs, problems: &mut Problems) {
    if let Err(error) = std::fs::metadata(&args.link.token_file) {
        problems.add(
            "--token-file",
            format_args!(
                "cannot read {}: {error}; mount it",
                args.link.token_file.display()
            ),
        );
    }
    let state = args.state_file.as_ref().map(|file| ("--state-file", file));
    let authority = args.link.operator_ca.as_ref().map(|file| ("--operator-ca", file));
    for (flag, file) in state.into_iter().chain(authority) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            problems.add(
                flag,
                format_args!(
                    "{} is no folder; mount a volume there, or name another",
                    folder.display()
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests;
