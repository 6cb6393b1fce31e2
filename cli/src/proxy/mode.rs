//! The three ways in which applications reach a proxy, and what each needs on the command line.

use std::net::SocketAddr;

use clap::ValueEnum;
use landbridge_redirect::INTERCEPT_PORT;
use landbridge_runtime::problems::Problems;

use super::args::ProxyArgs;
use crate::standalone::settings::listen_or_off;

/// Takes any free port.
const ANY: u16 = 0;

/// How applications reach the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// By the Services of destinations, on a port for each.
    Gateway,
    /// It takes connections to destinations from the pods of its node.
    Node,
    /// It takes connections to destinations from the pod it runs in.
    Sidecar,
}

/// The same, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    Gateway {
        /// Where sidecars ask for destinations.
        resolve: Option<SocketAddr>,
    },
    Node {
        /// Port of the intercepted connections; 0 for any.
        port: u16,
    },
    Sidecar {
        port: u16,
        /// Host and port of the gateways.
        gateway: (String, u16),
    },
}

impl Mode {
    /// Checks what only some of the modes have.
    pub(super) fn check(args: &ProxyArgs, problems: &mut Problems) -> Self {
        let resolve = listen_or_off("--resolve-listen", &args.resolve_listen, "0.0.0.0:8444", problems);
        if args.mode != ModeName::Gateway {
            only_gateways(args, resolve, problems);
        }
        let port = args.intercept_port;
        match args.mode {
            ModeName::Gateway => Self::Gateway { resolve },
            ModeName::Node => Self::Node {
                port: port.unwrap_or(ANY),
            },
            ModeName::Sidecar => {
                if !args.destination_service.is_empty() {
                    problems.add(
                        "--destination-service",
                        "is not for sidecars: no credential of a store belongs into an application's pod; remove it, the gateway \
                         named by --gateway is asked",
                    );
                }
                Self::Sidecar {
                    port: port.unwrap_or(INTERCEPT_PORT),
                    gateway: gateway(args.gateway.as_deref(), problems),
                }
            }
        }
    }

    /// Whether destinations are looked up in stores, with their credentials.
    pub(super) const fn has_stores(&self) -> bool {
        !matches!(self, Self::Sidecar { .. })
    }

    /// Whether there are several callers, who have to be told apart. In a sidecar's network there is the one pod.
    pub(super) const fn learns_callers(&self) -> bool {
        !matches!(self, Self::Sidecar { .. })
    }
}

fn only_gateways(args: &ProxyArgs, resolve: Option<SocketAddr>, problems: &mut Problems) {
    let why = "is for gateways only; remove it, or use --mode gateway";
    if resolve.is_some() {
        problems.add("--resolve-listen", why);
    }
    if args.tunnel_listen != "off" {
        problems.add("--tunnel-listen", why);
    }
}

fn gateway(text: Option<&str>, problems: &mut Problems) -> (String, u16) {
    let Some(text) = text else {
        problems.add(
            "--gateway",
            "is missing; name the gateways, as in landbridge-proxy.landbridge-system.svc:8444",
        );
        return Default::default();
    };
    let parsed = text
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
        .filter(|(host, port)| *port > 0 && url::Host::parse(host).is_ok());
    match parsed {
        Some((host, port)) => (host.to_owned(), port),
        None => {
            problems.add(
                "--gateway",
                format_args!("\"{text}\" is no HOST:PORT; write it so"),
            );
            Default::default()
        }
    }
}
