//! What the command line says, checked as a whole.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use landbridge_destination::binding::Binding;
use landbridge_operator::plan::PlanOptions;
use landbridge_operator::ports::PortPolicy;
use landbridge_operator::standalone as file_source;
use landbridge_proxy::resolve::cache::CachePolicy;
use landbridge_runtime::dial::AddressPolicy;
use landbridge_runtime::problems::{InvalidConfig, Problems};
use landbridge_runtime::tls;
use landbridge_tunnel::AcceptorConfig;
use rustls_pki_types::CertificateDer;
use url::Url;

use crate::args::StandaloneArgs;

/// Which store is asked.
pub(crate) enum StoreChoice {
    /// One in this process.
    Embedded,
    /// Another one.
    Remote(Box<Binding>),
}

/// Checked settings.
pub(crate) struct Settings {
    manifests: PathBuf,
    pub store: StoreChoice,
    pub store_listen: SocketAddr,
    pub data_dir: PathBuf,
    bind: IpAddr,
    ports: PortPolicy,
    pub admin_listen: SocketAddr,
    tunnel_listen: Option<SocketAddr>,
    tunnel_names: Vec<String>,
    pub additional_ca: Vec<PathBuf>,
    pub additional_roots: Vec<CertificateDer<'static>>,
    pub allow_local_targets: bool,
    destination_ttl: Duration,
    pub drain: Duration,
    pub ready_file: Option<PathBuf>,
}

impl Settings {
    /// Checks everything.
    ///
    /// # Errors
    /// Every mistake.
    pub(crate) fn check(args: &StandaloneArgs) -> Result<Self, InvalidConfig> {
        let mut problems = Problems::new();
        if !args.manifests.is_dir() {
            problems.add(
                "--manifests",
                format_args!(
                    "{} is no folder; make it or name another",
                    args.manifests.display()
                ),
            );
        }
        let store = check_store(args, &mut problems);
        let ports = problems.take("--ports", args.ports.parse::<PortPolicy>());
        let tunnel_listen = listen_or_off(
            "--tunnel-listen",
            &args.tunnel_listen,
            "0.0.0.0:8042",
            &mut problems,
        );
        let mut additional_roots = Vec::new();
        for file in &args.server.additional_ca {
            additional_roots.extend(
                problems
                    .take("--additional-ca", tls::read_certificates(file))
                    .unwrap_or_default(),
            );
        }
        let settings = store.zip(ports).map(|(store, ports)| Self {
            manifests: args.manifests.clone(),
            store,
            store_listen: args.store_listen,
            data_dir: args.data_dir.clone(),
            bind: args.bind,
            ports,
            admin_listen: args.admin_listen,
            tunnel_listen,
            tunnel_names: args.tunnel_names.clone(),
            additional_ca: args.server.additional_ca.clone(),
            additional_roots,
            allow_local_targets: args.allow_local_targets,
            destination_ttl: Duration::from_secs(args.destination_ttl),
            drain: Duration::from_secs(args.server.drain),
            ready_file: args.server.ready_file.clone(),
        });
        problems.finish(settings)
    }

    /// Settings of the acceptor of connectors, if there is to be one.
    pub(crate) fn acceptor(&self) -> Option<AcceptorConfig> {
        let dir = crate::tunnel::state_dir(&self.data_dir);
        self.tunnel_listen
            .map(|listen| AcceptorConfig::new(listen, dir, self.tunnel_names.clone()))
    }

    /// Settings of the file source.
    pub(crate) fn file_source(&self) -> file_source::Config {
        file_source::Config {
            ports: self.ports.clone(),
            port_file: Some(self.data_dir.join("ports.json")),
            refresh: self.destination_ttl,
            options: PlanOptions {
                allow_loopback: self.allow_local_targets,
                ..PlanOptions::default()
            },
            ..file_source::Config::new(&self.manifests)
        }
    }

    /// Settings of the proxy.
    pub(crate) fn proxy(&self) -> landbridge_proxy::Config {
        landbridge_proxy::Config {
            bind_setting: "--bind and spec.service.port or --ports".to_owned(),
            targets: if self.allow_local_targets {
                AddressPolicy::Any
            } else {
                AddressPolicy::NoLocal
            },
            additional_roots: self.additional_roots.clone(),
            cache: CachePolicy {
                fresh: self.destination_ttl,
                ..CachePolicy::default()
            },
            drain: self.drain,
            ..landbridge_proxy::Config::new(self.bind)
        }
    }
}

fn check_store(args: &StandaloneArgs, problems: &mut Problems) -> Option<StoreChoice> {
    if args.store == "embedded" {
        if args.binding.is_some() {
            problems.add(
                "--binding",
                "is for another store; name its address with --store, or leave --binding out",
            );
        }
        return Some(StoreChoice::Embedded);
    }
    let url = match Url::parse(&args.store) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        _ => {
            let message = format!(
                "'{}' is neither 'embedded' nor an http:// or https:// address",
                args.store
            );
            problems.add("--store", message);
            return None;
        }
    };
    let Some(file) = &args.binding else {
        problems.add(
            "--binding",
            "is missing; a destination service needs its service key (JSON)",
        );
        return None;
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            problems.add(
                "--binding",
                format_args!("cannot read {}: {error}", file.display()),
            );
            return None;
        }
    };
    let mut binding = problems.take("--binding", Binding::from_json(&text))?;
    binding.uri = url;
    Some(StoreChoice::Remote(Box::new(binding)))
}

/// An address to listen on, unless it is "off". `example` shows how to write one.
pub(crate) fn listen_or_off(
    setting: &str,
    text: &str,
    example: &str,
    problems: &mut Problems,
) -> Option<SocketAddr> {
    if text == "off" {
        return None;
    }
    let parsed = text.parse::<SocketAddr>();
    problems.take(
        setting,
        parsed.map_err(|_| format!("'{text}' is neither an address like {example} nor 'off'")),
    )
}
