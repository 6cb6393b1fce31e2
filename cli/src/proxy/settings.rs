//! What the command line of `proxy` says, checked as a whole.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use landbridge_destination::binding::Binding;
use landbridge_proxy::control::{self, Authority};
use landbridge_proxy::resolve::cache::CachePolicy;
use landbridge_runtime::dial::AddressPolicy;
use landbridge_runtime::http_client::Deadlines;
use landbridge_runtime::problems::{InvalidConfig, Problems};
use landbridge_runtime::tls;
use landbridge_tunnel::AcceptorConfig;
use rustls_pki_types::CertificateDer;
use url::Url;

use super::args::ProxyArgs;
use super::bindings;
use crate::standalone::settings::check_tunnel_listen;

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
        let operator = problems.take("--operator", operator(&args.operator));
        check_files(args, &mut problems);
        let instances = instances(args, &mut problems);
        let default_instance = default_instance(args, &instances, &mut problems);
        let tunnel_listen = check_tunnel_listen(&args.tunnel_listen, &mut problems);
        let mut roots = Vec::new();
        for file in &args.server.additional_ca {
            let read = problems.take("--additional-ca", tls::read_certificates(file));
            roots.extend(read.unwrap_or_default());
        }
        let settings = operator.map(|(host, port)| Self {
            control: control::Settings {
                host,
                port,
                authority: Authority::File(args.operator_ca.clone()),
                token_file: args.token_file.clone(),
                state_file: args.state_file.clone(),
            },
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

/// Host and port of the operator.
fn operator(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("\"{text}\" is no https://HOST:PORT; write it so, without a path");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    match (url.scheme(), url.host_str(), url.port_or_known_default()) {
        ("https", Some(host), Some(port)) if bare && anonymous => Ok((host.to_owned(), port)),
        _ => Err(wrong()),
    }
}

/// That what is mounted is there. The files are read when they are needed, and replaced while the proxy runs. The
/// authority may come later: the operator writes it when it starts for the first time.
fn check_files(args: &ProxyArgs, problems: &mut Problems) {
    if let Err(error) = std::fs::metadata(&args.token_file) {
        problems.add(
            "--token-file",
            format_args!("cannot read {}: {error}; mount it", args.token_file.display()),
        );
    }
    let state = args.state_file.as_ref().map(|file| ("--state-file", file));
    for (flag, file) in state.into_iter().chain([("--operator-ca", &args.operator_ca)]) {
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

fn instances(args: &ProxyArgs, problems: &mut Problems) -> Vec<Instance> {
    const FLAG: &str = "--destination-service";
    let mut instances: Vec<Instance> = Vec::new();
    for text in &args.destination_service {
        let Some((name, file)) = text
            .split_once('=')
            .filter(|(name, file)| !name.is_empty() && !file.is_empty())
        else {
            problems.add(FLAG, format_args!("\"{text}\" is no NAME=FILE; write it so"));
            continue;
        };
        if instances.iter().any(|known| known.name == name) {
            problems.add(
                FLAG,
                format_args!("{name} is given twice; give each instance a name of its own"),
            );
            continue;
        }
        let file = PathBuf::from(file);
        if let Some((binding, digest)) = problems.take(FLAG, bindings::read(&file)) {
            instances.push(Instance {
                name: name.to_owned(),
                file,
                binding,
                digest,
            });
        }
    }
    if args.destination_service.is_empty() {
        problems.add(
            FLAG,
            "is missing; name at least one instance and the file of its service key, as in default=/etc/landbridge/key.json",
        );
    }
    instances
}

fn default_instance(args: &ProxyArgs, instances: &[Instance], problems: &mut Problems) -> String {
    let Some(name) = &args.default_instance else {
        return instances
            .first()
            .map(|first| first.name.clone())
            .unwrap_or_default();
    };
    let named = |text: &String| text.split_once('=').is_some_and(|(known, _)| known == name);
    if !args.destination_service.iter().any(named) {
        problems.add(
            "--default-instance",
            format_args!("{name} is none of --destination-service; name one of those"),
        );
    }
    name.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    fn check(arguments: &[&str]) -> Result<Settings, String> {
        let line = ["landbridge", "proxy"].iter().chain(arguments);
        let Command::Proxy(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("another command");
        };
        Settings::check(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn operators_are_addresses_without_a_path() {
        for (text, expected) in [
            (
                "https://operator.system.svc:8443",
                Some(("operator.system.svc", 8443)),
            ),
            ("https://10.0.0.1", Some(("10.0.0.1", 443))),
            ("https://[fd00::1]:8443/", Some(("[fd00::1]", 8443))),
            ("http://operator:8443", None),
            ("operator:8443", None),
            ("https://operator:8443/v1", None),
            ("https://me@operator:8443", None),
        ] {
            let found = operator(text).ok();
            assert_eq!(
                found,
                expected.map(|(host, port)| (host.to_owned(), port)),
                "{text}"
            );
        }
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let error = check(&[
            "--operator",
            "operator:8443",
            "--operator-ca",
            "/missing/ca.crt",
            "--token-file",
            "/nonexistent/token",
            "--state-file",
            "/nonexistent/state.json",
            "--destination-service",
            "nameless",
            "--destination-service",
            "two=/nonexistent/key.json",
            "--default-instance",
            "three",
            "--tunnel-listen",
            "everywhere",
            "--additional-ca",
            "/nonexistent/roots.pem",
        ])
        .err()
        .unwrap();
        for part in [
            "\"operator:8443\"",
            "/missing is no folder",
            "/nonexistent/token",
            "/nonexistent is no folder",
            "\"nameless\"",
            "/nonexistent/key.json",
            "three is none of",
            "'everywhere'",
            "/nonexistent/roots.pem",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn the_first_instance_is_the_default_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (ca, token) = (file("ca.crt", "x"), file("token", "x"));
        let key = file(
            "key.json",
            r#"{"clientid":"id","clientsecret":"s","url":"http://h","uri":"http://h"}"#,
        );
        let (one, two) = (format!("one={key}"), format!("two={key}"));
        let mut arguments = vec![
            "--operator",
            "https://operator:8443",
            "--operator-ca",
            &ca,
            "--token-file",
            &token,
        ];
        let error = check(&arguments).err().unwrap();
        assert!(
            error.contains("--destination-service") && error.contains("is missing"),
            "{error}"
        );
        arguments.extend(["--destination-service", &one, "--destination-service", &two]);
        let settings = check(&arguments).unwrap();
        assert_eq!(
            (settings.default_instance.as_str(), settings.instances.len()),
            ("one", 2)
        );
        assert!(settings.acceptor().is_none());
        arguments.extend(["--default-instance", "two"]);
        assert_eq!(check(&arguments).unwrap().default_instance, "two");
        arguments.extend(["--destination-service", &one]);
        assert!(check(&arguments).err().unwrap().contains("one is given twice"));
    }
}
