//! What the command line of `operator` says, checked as a whole.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use landbridge_destination::Scope;
use landbridge_operator::admission::Target;
use landbridge_operator::channels::ChannelOptions;
use landbridge_operator::cluster::stores::Instance;
use landbridge_operator::cluster::webhook::WebhookConfig;
use landbridge_operator::cluster::{Config, Namespaces};
use landbridge_operator::plan::PlanOptions;
use landbridge_operator::workloads::ProxyAccount;
use landbridge_runtime::http_client::Deadlines;
use landbridge_runtime::problems::{InvalidConfig, Problems};
use landbridge_runtime::tls;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use url::Url;

use super::args::{DefaultScope, ManagedNamespaces, OperatorArgs};
use super::inject;

/// Service account of the proxies unless told.
const PROXY_ACCOUNT: &str = "landbridge-proxy";

/// Port of the Service for the webhook.
const WEBHOOK_SERVICE_PORT: u16 = 443;

/// Checked settings.
pub(super) struct Settings {
    pub config: Config,
    pub kubeconfig: Option<PathBuf>,
    pub serve_listen: SocketAddr,
    pub webhook: Option<(SocketAddr, WebhookConfig)>,
    pub admin_listen: SocketAddr,
    pub roots: Vec<CertificateDer<'static>>,
    pub store_deadlines: Deadlines,
    pub drain: Duration,
    pub ready_file: Option<PathBuf>,
}

impl Settings {
    /// Checks everything.
    ///
    /// # Errors
    /// Every mistake.
    pub(super) fn check(args: &OperatorArgs) -> Result<Self, InvalidConfig> {
        let mut problems = Problems::new();
        let instances = instances(args, &mut problems);
        let default_instance = default_instance(args, &instances, &mut problems);
        let ports = problems.take("--port-range", ports(&args.port_range));
        let webhook = problems.take("--webhook-listen", webhook(args));
        let proxies = accounts(args, &mut problems);
        let nodes = named_accounts(&args.node_account, "--node-account", &mut problems);
        let labels = labels(&args.proxy_labels, &mut problems);
        let injection = inject::check(args, &mut problems);
        let mut roots = Vec::new();
        for file in &args.server.additional_ca {
            let read = problems.take("--additional-ca", tls::read_certificates(file));
            roots.extend(read.unwrap_or_default());
        }
        let config = ports.map(|ports| Config {
            namespace: args.namespace.clone(),
            identity: args.identity.clone().unwrap_or_else(identity),
            advertise: args
                .advertise
                .map(|address| SocketAddr::new(address, args.serve_listen.port())),
            service: args.service.clone(),
            extra_names: args
                .webhook_url
                .as_deref()
                .and_then(|url| Url::parse(url).ok())
                .and_then(|url| {
                    url.host_str()
                        .map(|host| host.trim_matches(['[', ']']).to_owned())
                })
                .into_iter()
                .collect(),
            serve_certificate: args.serve_certificate_dir.clone(),
            namespaces: namespaces(args),
            instances,
            default_instance,
            proxies,
            nodes,
            proxy_labels: (!args.no_network_policies).then_some(labels),
            ports,
            interval: Duration::from_secs(args.execution_interval_minutes * 60),
            lookup_concurrency: usize::from(args.lookup_concurrency),
            options: PlanOptions {
                allow_loopback: args.allow_local_targets,
                default_scope: match args.default_scope {
                    DefaultScope::Namespaced => Scope::Namespaced,
                    DefaultScope::ClusterWide => Scope::ClusterWide,
                },
            },
            channels: ChannelOptions {
                allow_loopback: args.allow_local_targets,
                ..ChannelOptions::default()
            },
            injection,
            unproven_pods: args.inject.unproven(),
        });
        let settings = config.zip(webhook).map(|(config, webhook)| Self {
            config,
            webhook,
            kubeconfig: args.kubeconfig.clone(),
            serve_listen: args.serve_listen,
            admin_listen: args.admin_listen,
            roots,
            store_deadlines: args.store_calls.deadlines(),
            drain: Duration::from_secs(args.server.drain),
            ready_file: args.server.ready_file.clone(),
        });
        problems.finish(settings)
    }

    /// One line for the log: what this installation looks after, and which stores it asks.
    pub(super) fn tell(&self) {
        let config = &self.config;
        let instances: Vec<String> = config
            .instances
            .iter()
            .map(|instance| format!("{} ({})", instance.name, instance.source))
            .collect();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            namespace = config.namespace,
            looks_after = %config.namespaces,
            instances = instances.join(", "),
            default_scope = ?config.options.default_scope,
            "starting"
        );
    }

    /// Everything that is set, for the page `/config`. There is nothing secret among it: bindings are named only.
    pub(super) fn shown(&self) -> Value {
        let config = &self.config;
        let instances: Vec<_> = config
            .instances
            .iter()
            .map(|instance| json!({ "name": instance.name, "source": instance.source.to_string() }))
            .collect();
        let accounts: Vec<_> = config
            .proxies
            .iter()
            .map(|account| format!("{}/{}", account.namespace, account.service_account))
            .collect();
        json!({
            "namespace": config.namespace,
            "identity": config.identity,
            "advertise": config.advertise,
            "service": config.service,
            "namespaces": config.namespaces.to_string(),
            "destinationServices": instances,
            "defaultInstance": config.default_instance,
            "proxyAccounts": accounts,
            "proxyLabels": config.proxy_labels,
            "portRange": [config.ports.start(), config.ports.end()],
            "executionIntervalMinutes": config.interval.as_secs() / 60,
            "lookupConcurrency": config.lookup_concurrency,
            "storeConnectSeconds": self.store_deadlines.connect.as_secs(),
            "storeReadSeconds": self.store_deadlines.answer.as_secs(),
            "defaultScope": config.options.default_scope,
            "allowLocalTargets": config.options.allow_loopback,
            "serveListen": self.serve_listen,
            "serveCertificateDir": config.serve_certificate,
            "webhookListen": self.webhook.as_ref().map(|(listen, _)| listen),
            "webhookFailClosed": self.webhook.as_ref().map(|(_, webhook)| webhook.fail_closed),
            "injection": config.injection.as_ref().map(inject::shown),
            "adminListen": self.admin_listen,
            "drainSeconds": self.drain.as_secs(),
        })
    }
}

/// Outside of a pod: unique, so that two replicas on one machine do not take each other for themselves.
fn identity() -> String {
    format!("landbridge-operator-{}", uuid::Uuid::new_v4().simple())
}

fn namespaces(args: &OperatorArgs) -> Namespaces {
    match (&args.watch_namespace, args.managed_namespaces) {
        (Some(namespace), _) => Namespaces::Only(namespace.clone()),
        (None, ManagedNamespaces::LabelSelector) => Namespaces::Labelled,
        (None, ManagedNamespaces::All) => Namespaces::All,
    }
}

fn instances(args: &OperatorArgs, problems: &mut Problems) -> Vec<Instance> {
    let mut instances: Vec<Instance> = Vec::new();
    for text in &args.destination_service {
        let Some(instance) = problems.take("--destination-service", Instance::parse(text)) else {
            continue;
        };
        if instances.iter().any(|known| known.name == instance.name) {
            problems.add(
                "--destination-service",
                format_args!(
                    "{} is given twice; give each instance a name of its own",
                    instance.name
                ),
            );
            continue;
        }
        instances.push(instance);
    }
    if args.destination_service.is_empty() {
        problems.add(
            "--destination-service",
            "is missing; name at least one instance, as in default=secret:landbridge-system/destination-service/key.json",
        );
    }
    instances
}

fn default_instance(args: &OperatorArgs, instances: &[Instance], problems: &mut Problems) -> String {
    let first = instances.first().map(|instance| instance.name.clone());
    match &args.default_instance {
        None => first.unwrap_or_default(),
        Some(name) => {
            if !instances.iter().any(|instance| instance.name == *name) {
                problems.add(
                    "--default-instance",
                    format_args!("{name} is none of --destination-service; name one of those"),
                );
            }
            name.clone()
        }
    }
}

fn ports(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    match range {
        // Below 1024 a proxy that is not root cannot listen.
        Some((first, last)) if (1024..=last).contains(&first) => Ok(first..=last),
        _ => Err(format!(
            "\"{text}\" is no range of ports; write FIRST-LAST, from 1024 to 65535, as in 10000-29999"
        )),
    }
}

fn webhook(args: &OperatorArgs) -> Result<Option<(SocketAddr, WebhookConfig)>, String> {
    if args.webhook_listen == "off" {
        return Ok(None);
    }
    let listen: SocketAddr = args
        .webhook_listen
        .parse()
        .map_err(|_| format!("\"{}\" is no address and port, nor off", args.webhook_listen))?;
    let target = match &args.webhook_url {
        None => Target::Service {
            namespace: args.namespace.clone(),
            name: args.service.clone(),
            port: WEBHOOK_SERVICE_PORT,
        },
        Some(url) => match Url::parse(url) {
            Ok(parsed) if parsed.scheme() == "https" => Target::Url(url.trim_end_matches('/').to_owned()),
            _ => return Err(format!("--webhook-url \"{url}\" is no https:// address")),
        },
    };
    let config = WebhookConfig {
        target,
        fail_closed: args.webhook_fail_closed,
    };
    Ok(Some((listen, config)))
}

fn accounts(args: &OperatorArgs, problems: &mut Problems) -> Vec<ProxyAccount> {
    if args.proxy_account.is_empty() {
        return vec![ProxyAccount {
            namespace: args.namespace.clone(),
            service_account: PROXY_ACCOUNT.to_owned(),
        }];
    }
    named_accounts(&args.proxy_account, "--proxy-account", problems)
}

fn named_accounts(texts: &[String], option: &str, problems: &mut Problems) -> Vec<ProxyAccount> {
    pairs(texts, '/', option, "NAMESPACE/NAME", problems)
        .map(|(namespace, service_account)| ProxyAccount {
            namespace,
            service_account,
        })
        .collect()
}

fn labels(texts: &[String], problems: &mut Problems) -> BTreeMap<String, String> {
    pairs(texts, '=', "--proxy-labels", "KEY=VALUE", problems).collect()
}

fn pairs(
    texts: &[String],
    separator: char,
    setting: &str,
    form: impl Display,
    problems: &mut Problems,
) -> impl Iterator<Item = (String, String)> {
    let mut pairs = Vec::new();
    for text in texts {
        match text.split_once(separator) {
            Some((one, other)) if !one.is_empty() && !other.is_empty() => {
                pairs.push((one.to_owned(), other.to_owned()));
            }
            _ => problems.add(setting, format_args!("\"{text}\" is no {form}; write it so")),
        }
    }
    pairs.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    fn check(arguments: &[&str]) -> Result<Settings, String> {
        let line = ["landbridge", "operator", "--namespace", "system"]
            .iter()
            .chain(arguments);
        let Command::Operator(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("another command");
        };
        Settings::check(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let error = check(&[
            "--destination-service",
            "default",
            "--destination-service",
            "two=secret:ns",
            "--default-instance",
            "three",
            "--port-range",
            "80-90",
            "--proxy-account",
            "nobody",
            "--proxy-labels",
            "app",
            "--webhook-url",
            "http://here",
        ])
        .err()
        .unwrap();
        for part in [
            "\"default\"",
            "secret:ns",
            "three",
            "80-90",
            "nobody",
            "\"app\"",
            "http://here",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        let error = check(&[]).err().unwrap();
        assert!(error.contains("--destination-service"), "{error}");
    }

    #[test]
    fn the_usual_settings_follow_from_the_namespace() {
        let settings = check(&["--destination-service", "default=secret:system/store/key.json"]).unwrap();
        let config = &settings.config;
        assert_eq!(config.default_instance, "default");
        assert_eq!(config.proxies[0].service_account, PROXY_ACCOUNT);
        assert_eq!(
            config.instances[0].source.to_string(),
            "the Secret system/store (key key.json)"
        );
        assert_eq!(config.interval, Duration::from_secs(180));
        assert_eq!(settings.store_deadlines, Deadlines::default());
        let (_, webhook) = settings.webhook.as_ref().unwrap();
        assert!(
            !webhook.fail_closed,
            "somebody else's mistake must not stop the cluster"
        );
        assert_eq!(settings.shown()["destinationServices"][0]["name"], "default");
    }
}
