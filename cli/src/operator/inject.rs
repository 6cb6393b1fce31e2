//! Options of `operator` about the sidecar that pods get.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, ValueEnum};
use landbridge_operator::cluster::injection::InjectionConfig;
use landbridge_operator::injection::ADMIN_PORT;
use landbridge_operator::injection::options::{Resources, SidecarOptions};
use landbridge_operator::injection::overrides::{is_image, is_uid};
use landbridge_operator::injection::report::UnprovenPods;
use landbridge_redirect::INTERCEPT_PORT;
use landbridge_runtime::problems::Problems;
use landbridge_runtime::telemetry::{LogFormat, check_filter};
use serde_json::{Value, json};
use url::Url;

use super::args::OperatorArgs;

/// Options about the sidecar that pods get.
#[derive(Debug, Args)]
pub(crate) struct InjectArgs {
    /// Put the sidecar into new pods that ask for it, or whose namespace does: label
    /// connectivity.landbridge.dev/inject=enabled.
    #[arg(long, env = "LANDBRIDGE_INJECT", value_enum, default_value_t = Switch::Off)]
    pub inject: Switch,
    /// Image of the sidecar.
    #[arg(long, env = "LANDBRIDGE_INJECT_IMAGE", value_name = "IMAGE")]
    pub inject_image: Option<String>,
    /// When the sidecar's image is pulled.
    #[arg(long, env = "LANDBRIDGE_INJECT_PULL_POLICY", value_enum, default_value_t = PullPolicy::IfNotPresent)]
    pub inject_pull_policy: PullPolicy,
    /// Secret that the sidecar's image is pulled with; it must be in the pods' namespaces.
    #[arg(long, env = "LANDBRIDGE_INJECT_PULL_SECRET", value_name = "NAME")]
    pub inject_pull_secret: Option<String>,
    /// Uid of the sidecar, which no other container of the pod may have.
    #[arg(
        long,
        env = "LANDBRIDGE_INJECT_PROXY_UID",
        default_value_t = 2102,
        value_name = "UID"
    )]
    pub inject_proxy_uid: i64,
    /// What the sidecar asks for: cpu-request, cpu-limit, memory-request, memory-limit, ephemeral-storage-request,
    /// ephemeral-storage-limit.
    #[arg(
        long,
        env = "LANDBRIDGE_INJECT_RESOURCES",
        value_delimiter = ',',
        default_value = "cpu-request=10m,cpu-limit=1,memory-request=24Mi,memory-limit=256Mi",
        value_name = "KEY=QUANTITY"
    )]
    pub inject_resources: Vec<String>,
    /// Where gateways answer for sidecars; landbridge-proxy.NAMESPACE.svc:8444 unless told.
    #[arg(long, env = "LANDBRIDGE_INJECT_GATEWAY", value_name = "HOST:PORT")]
    pub inject_gateway: Option<String>,
    /// Where sidecars find the operator; `https://SERVICE.NAMESPACE.svc:8443` unless told.
    #[arg(long, env = "LANDBRIDGE_INJECT_OPERATOR", value_name = "URL")]
    pub inject_operator: Option<String>,
    /// Address in the pod that the sidecar's probes are served on; "::" where pods have IPv6.
    #[arg(
        long,
        env = "LANDBRIDGE_INJECT_ADMIN_ADDRESS",
        default_value = "0.0.0.0",
        value_name = "IP"
    )]
    pub inject_admin_address: IpAddr,
    /// What the sidecar logs.
    #[arg(
        long,
        env = "LANDBRIDGE_INJECT_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub inject_log: String,
    /// Log lines of the sidecar: text or json.
    #[arg(
        long,
        env = "LANDBRIDGE_INJECT_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub inject_log_format: String,
    /// Seconds that the sidecar waits for connections in use when the pod ends.
    #[arg(long, env = "LANDBRIDGE_INJECT_DRAIN", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub inject_drain: u64,
    /// Level of Pod Security that the API server enforces where a namespace names none. Sidecars need privileged.
    #[arg(long, env = "LANDBRIDGE_INJECT_POD_SECURITY", value_enum, default_value_t = PodSecurity::Privileged)]
    pub inject_pod_security: PodSecurity,
    /// Refuse pods that want the sidecar while the webhook does not answer. Without, they start without it, and their
    /// calls go to the gateways.
    #[arg(long, env = "LANDBRIDGE_INJECT_FAIL_CLOSED")]
    pub inject_fail_closed: bool,
    /// What is done about pods whose connections turn out not to be redirected: an Event, or evict them too, where a
    /// controller makes them anew.
    #[arg(long, env = "LANDBRIDGE_UNPROVEN_PODS", value_enum, default_value_t = Unproven::Report)]
    pub unproven_pods: Unproven,
}

/// Off or on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Off.
    Off,
    /// On.
    On,
}

/// When an image is pulled; the values of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum PullPolicy {
    /// For each start of a container.
    Always,
    /// Where the node has none.
    IfNotPresent,
    /// Never.
    Never,
}

/// Levels of Pod Security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PodSecurity {
    /// Everything is allowed.
    Privileged,
    /// What is known to be dangerous is not.
    Baseline,
    /// Only what is known to be harmless is.
    Restricted,
}

/// What is done about pods whose redirection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unproven {
    /// Told.
    Report,
    /// Evicted too.
    Delete,
}

impl InjectArgs {
    /// What is done about pods whose redirection failed.
    pub(super) fn unproven(&self) -> UnprovenPods {
        match self.unproven_pods {
            Unproven::Report => UnprovenPods::Report,
            Unproven::Delete => UnprovenPods::Delete,
        }
    }
}

/// Checks everything about the sidecar; none when pods get none.
pub(super) fn check(args: &OperatorArgs, problems: &mut Problems) -> Option<InjectionConfig> {
    let inject = &args.inject;
    if inject.inject == Switch::Off {
        return None;
    }
    if args.webhook_listen == "off" {
        problems.add(
            "--inject",
            "on needs the webhook: give --webhook-listen an address, or switch --inject off",
        );
    }
    if args.watch_namespace.is_some() {
        problems.add(
            "--inject",
            "on takes rights on the whole cluster: leave --watch-namespace away, or switch --inject off",
        );
    }
    if !is_uid(inject.inject_proxy_uid) {
        problems.add(
            "--inject-proxy-uid",
            format_args!(
                "{} is no uid for a sidecar; write a number from 1 to 2147483647",
                inject.inject_proxy_uid
            ),
        );
    }
    let image = problems.take("--inject-image", image(inject));
    let secret = problems.take(
        "--inject-pull-secret",
        secret(inject.inject_pull_secret.as_deref()),
    );
    let resources = inject.inject_resources.iter().map(String::as_str);
    let resources = problems.take("--inject-resources", Resources::parse(resources));
    let gateway = problems.take("--inject-gateway", gateway(args));
    let operator = problems.take("--inject-operator", operator(args));
    let log = problems.take("--inject-log", check_filter(&inject.inject_log));
    let format = inject.inject_log_format.parse::<LogFormat>();
    let format = problems.take("--inject-log-format", format);
    let (_, _) = log.zip(format)?;
    Some(InjectionConfig {
        sidecar: SidecarOptions {
            installation: args.namespace.clone(),
            image: image?,
            pull_policy: word(inject.inject_pull_policy),
            pull_secret: secret?,
            uid: inject.inject_proxy_uid,
            resources: resources?,
            operator: operator?,
            gateway: gateway?,
            intercept_port: INTERCEPT_PORT,
            admin: SocketAddr::new(inject.inject_admin_address, ADMIN_PORT),
            log: inject.inject_log.clone(),
            log_format: inject.inject_log_format.clone(),
            drain: inject.inject_drain,
            pod_security: word(inject.inject_pod_security),
        },
        fail_closed: inject.inject_fail_closed,
    })
}

/// As it is written on the command line, which is how Kubernetes writes it.
fn word(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// For the page `/config`.
pub(super) fn shown(config: &InjectionConfig) -> Value {
    let sidecar = &config.sidecar;
    let [requests, limits] = sidecar.resources.shown();
    json!({
        "image": sidecar.image,
        "pullPolicy": sidecar.pull_policy,
        "pullSecret": sidecar.pull_secret,
        "uid": sidecar.uid,
        "requests": requests,
        "limits": limits,
        "operator": sidecar.operator,
        "gateway": sidecar.gateway,
        "admin": sidecar.admin,
        "log": sidecar.log,
        "logFormat": sidecar.log_format,
        "drainSeconds": sidecar.drain,
        "podSecurity": sidecar.pod_security,
        "failClosed": config.fail_closed,
    })
}

fn image(args: &InjectArgs) -> Result<String, String> {
    match args.inject_image.as_deref() {
        Some(image) if is_image(image) => Ok(image.to_owned()),
        Some(image) => Err(format!("\"{image}\" is no name of an image; correct it")),
        None => Err("is missing; name the image of the sidecar, the same as the operator's".to_owned()),
    }
}

fn secret(name: Option<&str>) -> Result<Option<String>, String> {
    // Names of Secrets are DNS subdomains (RFC 1123).
    let allowed = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || "-.".contains(one);
    match name {
        Some(name) if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) => {
            Err(format!("\"{name}\" is no name of a Secret; correct it"))
        }
        name => Ok(name.map(str::to_owned)),
    }
}

fn gateway(args: &OperatorArgs) -> Result<String, String> {
    let Some(text) = &args.inject.inject_gateway else {
        return Ok(format!("landbridge-proxy.{}.svc:8444", args.namespace));
    };
    let parsed = Url::parse(&format!("https://{text}/")).ok();
    let exact = parsed.is_some_and(|url| {
        url.port_or_known_default().is_some() && url.host_str().is_some() && url.path() == "/"
    });
    // A port must be named: 443 would be silently taken otherwise.
    let port = text
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok());
    if exact && port.is_some_and(|port| port > 0) && !text.contains(['/', '@', '?', '#']) {
        return Ok(text.clone());
    }
    Err(format!(
        "\"{text}\" is no HOST:PORT, as in landbridge-proxy.landbridge-system.svc:8444"
    ))
}

fn operator(args: &OperatorArgs) -> Result<String, String> {
    let Some(text) = &args.inject.inject_operator else {
        return Ok(format!("https://{}.{}.svc:8443", args.service, args.namespace));
    };
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.host_str().is_some() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(format!(
            "\"{text}\" is no https:// address, as in https://landbridge-operator.landbridge-system.svc:8443"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    fn checked(arguments: &[&str]) -> Result<Option<InjectionConfig>, String> {
        let line = ["landbridge", "operator", "--namespace", "system"]
            .iter()
            .chain(arguments);
        let Command::Operator(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("another command");
        };
        let mut problems = Problems::new();
        let config = check(&args, &mut problems);
        problems
            .finish(Some(()))
            .map_err(|error| error.to_string())
            .map(|()| config)
    }

    #[test]
    fn off_asks_for_nothing() {
        assert_eq!(checked(&["--inject-image", "not checked!"]), Ok(None));
    }

    #[test]
    fn names_follow_from_the_installation() {
        let config = checked(&["--inject", "on", "--inject-image", "lb:1"])
            .unwrap()
            .unwrap();
        let sidecar = &config.sidecar;
        assert_eq!(sidecar.operator, "https://landbridge-operator.system.svc:8443");
        assert_eq!(sidecar.gateway, "landbridge-proxy.system.svc:8444");
        assert_eq!(sidecar.pull_policy, "IfNotPresent");
        assert_eq!((sidecar.uid, sidecar.pod_security.as_str()), (2102, "privileged"));
        assert_eq!(
            (sidecar.intercept_port, sidecar.admin.to_string()),
            (20411, "0.0.0.0:20412".into())
        );
        assert!(!config.fail_closed);
        let [requests, limits] = sidecar.resources.shown();
        assert!(requests.len() == 2 && limits.len() == 2, "quotas ask for both");
        let changed = [
            "--inject",
            "on",
            "--inject-image",
            "lb:1",
            "--inject-admin-address",
            "::",
        ];
        let config = checked(&changed).unwrap().unwrap();
        assert_eq!(config.sidecar.admin.to_string(), "[::]:20412");
    }

    #[test]
    fn this_program_takes_the_command_lines_that_pods_get() {
        let patch = include_str!("../../../operator/src/injection/pod/golden/job.json");
        let patch: Value = serde_json::from_str(patch).unwrap();
        let containers = patch[0]["value"].as_array().unwrap();
        assert_eq!(containers.len(), 2);
        for container in containers {
            let arguments = container["args"].as_array().unwrap();
            let line = arguments.iter().map(|one| one.as_str().unwrap());
            // As the variable gives it, which tests of one process cannot set.
            assert_eq!(container["env"][0]["name"], "LANDBRIDGE_OPERATOR_CA_PEM");
            let authority = format!(
                "--operator-ca-pem={}",
                container["env"][0]["value"].as_str().unwrap()
            );
            let line = std::iter::once("landbridge")
                .chain(line)
                .chain([authority.as_str()]);
            let parsed = Cli::try_parse_from(line);
            assert!(parsed.is_ok(), "{}: {:?}", container["name"], parsed.err());
        }
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let error = checked(&[
            "--inject",
            "on",
            "--webhook-listen",
            "off",
            "--watch-namespace",
            "shop",
            "--inject-proxy-uid",
            "0",
            "--inject-pull-secret",
            "My Secret",
            "--inject-resources",
            "memory-request=1Gi,memory-limit=512Mi",
            "--inject-gateway",
            "gateway",
            "--inject-operator",
            "http://operator",
            "--inject-log",
            "info,x=y=z",
            "--inject-log-format",
            "xml",
        ])
        .unwrap_err();
        for part in [
            "--webhook-listen",
            "--watch-namespace",
            "--inject-image: is missing",
            "0 is no uid",
            "\"My Secret\"",
            "1Gi is more than the limit 512Mi",
            "\"gateway\"",
            "http://operator",
            "--inject-log: log filter",
            "'xml'",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
}
