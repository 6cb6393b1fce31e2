//! The connector's configuration: a TOML or YAML file, read once.

mod channels;
mod reader;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use landbridge_runtime::problems::InvalidConfig;
use landbridge_runtime::problems::Problems;
use landbridge_tunnel::OpenRequest;
use landbridge_tunnel::dialer::{MAX_CONNECTIONS, ServerAddress};
use landbridge_tunnel::identity::check_location;
use secrecy::SecretString;
use serde_json::Value;

pub use self::channels::{ServiceChannel, port_rule};
use self::reader::Table;
use crate::access::{Mapping, PrefixMatch, Resource, Systems};

/// Environment variable with the enrolment token, for installations without a place for a file.
pub const TOKEN_VARIABLE: &str = "LANDBRIDGE_ENROLMENT_TOKEN";
/// Largest configuration file: 1 MiB holds about 5000 systems.
const MAX_FILE: u64 = 1 << 20;

/// Everything the connector needs to know.
#[derive(Debug)]
pub struct Config {
    /// Connections to clusters, each with the systems it exposes.
    pub tunnels: Vec<Tunnel>,
    /// Bounds and deadlines.
    pub limits: Limits,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; nowhere when `None`.
    pub admin_listen: Option<SocketAddr>,
    /// What is written to the audit log.
    pub audit: AuditLevel,
    /// The token of [`TOKEN_VARIABLE`].
    pub enrolment_token: Option<SecretString>,
}

/// One cluster (in the vendor's words: one subaccount) the connector serves.
#[derive(Debug)]
pub struct Tunnel {
    /// For logs and metrics.
    pub name: String,
    /// Acceptors.
    pub servers: Vec<ServerAddress>,
    /// What the acceptor's certificate must carry, when it is not the host of the address.
    pub server_name: Option<String>,
    /// Location id (seed L18825); empty is the default location.
    pub location: String,
    /// Connections to keep.
    pub connections: u16,
    /// Where key and certificate are kept.
    pub identity_dir: PathBuf,
    /// File with the one-time token, for the first start.
    pub token_file: Option<PathBuf>,
    /// What is exposed to this cluster.
    pub systems: Arc<Systems>,
    /// Ports of this side that lead to services of the cluster.
    pub channels: Vec<ServiceChannel>,
    /// Whether ports that the cluster asks for are opened, on loopback, without being configured here.
    pub accept_offered_channels: bool,
}

/// What is written to the audit log (seed L30006).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AuditLevel {
    /// Nothing.
    Off,
    /// Denied access.
    #[default]
    Security,
    /// Denied and allowed access.
    All,
}

/// Bounds and deadlines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Streams at once on each connection.
    pub streams_per_connection: usize,
    /// Longest time to connect to an internal host, TLS included.
    pub connect: Duration,
    /// Longest time until an internal host begins to answer a request.
    pub response: Duration,
    /// Longest silence on a connection.
    pub idle: Duration,
    /// Largest head of a request in bytes (64 kB, seed L27847).
    pub request_head: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams_per_connection: 1024,
            connect: Duration::from_secs(10),
            response: Duration::from_secs(600),
            idle: Duration::from_secs(3600),
            request_head: 64 * 1024,
        }
    }
}

impl Config {
    /// Reads a file; its extension says whether it is TOML (`.toml`) or YAML (`.yaml`, `.yml`). `environment` looks
    /// variables up. Blocks on files.
    pub fn load(path: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidConfig> {
        let mut problems = Problems::new();
        let file = path.display().to_string();
        let Some(text) = problems.take(&*file, read(path)) else {
            return problems.finish(None);
        };
        let Some(value) = problems.take(&*file, parse(&text, path)) else {
            return problems.finish(None);
        };
        let base = path.parent().unwrap_or(Path::new("."));
        let mut config = from_value(value, base, &mut problems);
        config.enrolment_token = environment(TOKEN_VARIABLE)
            .filter(|token| !token.is_empty())
            .map(SecretString::from);
        problems.finish(Some(config))
    }
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_FILE {
        return Err("is larger than 1 MiB; split it over several connectors".to_owned());
    }
    Ok(text)
}

fn parse(text: &str, path: &Path) -> Result<Value, String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::from_str(text).map_err(|error| error.to_string()),
        Some("yaml" | "yml") => serde_saphyr::from_str(text).map_err(|error| error.to_string()),
        _ => Err("must end with .toml, .yaml or .yml".to_owned()),
    }
}

fn from_value(value: Value, base: &Path, problems: &mut Problems) -> Config {
    let mut root = Table::root(value, problems);
    let shared = mappings(&mut root, base, &[]);
    let channels = channels::channels(&mut root);
    let mut tunnels = Vec::new();
    let count = root.tables("tunnels", |table| tunnels.extend(tunnel(table, base, &shared)));
    if count == 0 {
        root.problem(
            "tunnels",
            "is missing; at least one tunnel with a server and an identity_dir is needed",
        );
    }
    let limits = root.table("limits", limits);
    let admin_listen = root.text("admin_listen").and_then(|text| match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            root.problem(
                "admin_listen",
                format!("{text:?} is not an address; for example 127.0.0.1:9464"),
            );
            None
        }
    });
    let levels = [
        ("off", AuditLevel::Off),
        ("security", AuditLevel::Security),
        ("all", AuditLevel::All),
    ];
    let audit = root.choice("audit_level", &levels).unwrap_or_default();
    channels_of_root(&mut root, &mut tunnels, channels);
    unique(&mut root, &tunnels);
    root.finish();
    Config {
        tunnels,
        limits,
        admin_listen,
        audit,
        enrolment_token: None,
    }
}

/// Without naming a tunnel, channels are those of the only one.
fn channels_of_root(root: &mut Table<'_>, tunnels: &mut [Tunnel], channels: Vec<ServiceChannel>) {
    match tunnels {
        [only] => only.channels.extend(channels),
        [_, _, ..] if !channels.is_empty() => root.problem(
            "service_channels",
            "must stand in the tunnel that they go through ([[tunnels.service_channels]]), since there are several",
        ),
        // The missing tunnel was told.
        _ => {}
    }
}

/// Two tunnels with one folder would overwrite each other's identity, and a port can be opened once.
fn unique(root: &mut Table<'_>, tunnels: &[Tunnel]) {
    let mut folders = HashMap::new();
    for (index, tunnel) in tunnels.iter().enumerate() {
        if let Some(first) = folders.insert(&tunnel.identity_dir, index) {
            root.problem(
                &format!("tunnels[{index}].identity_dir"),
                format!("is the folder of tunnels[{first}] too; each tunnel needs its own"),
            );
        }
    }
    let channels: Vec<_> = tunnels.iter().flat_map(|tunnel| &tunnel.channels).collect();
    for (index, channel) in channels.iter().enumerate() {
        if let Some(other) = channels[..index].iter().find(|other| other.collides(channel)) {
            let (name, listen) = (&channel.name, channel.listen);
            root.problem(
                "service_channels",
                format!(
                    "{name} and {} want the same port {listen}; choose another local_port",
                    other.name
                ),
            );
        }
    }
}

fn tunnel(mut table: Table<'_>, base: &Path, shared: &[Mapping]) -> Option<Tunnel> {
    let servers = servers(&mut table);
    let location = table.text("location_id").unwrap_or_default();
    if let Err(error) = check_location(&location) {
        table.problem("location_id", error);
    }
    let name = table
        .text("display_name")
        .unwrap_or_else(|| servers.first().map(ToString::to_string).unwrap_or_default());
    let _ = table.text("description");
    let server_name = table.text("server_name");
    if server_name
        .as_deref()
        .is_some_and(|name| rustls_pki_types::ServerName::try_from(name).is_err())
    {
        table.problem("server_name", "must be a host name or an address without a port");
    }
    let connections = table
        .number("connections", 1..=u64::from(MAX_CONNECTIONS))
        .unwrap_or(2);
    let identity_dir = table.required_text("identity_dir", "\"/var/lib/landbridge/identity\"");
    let token_file = table.text("enrolment_token_file").map(|file| base.join(file));
    if table.text("enrolment_token").is_some() {
        table.problem(
            "enrolment_token",
            format!("must not stand in the configuration; put it into a file named by enrolment_token_file, or into {TOKEN_VARIABLE}"),
        );
    }
    let mut exposed = shared.to_vec();
    exposed.extend(mappings(&mut table, base, shared));
    let channels = channels::channels(&mut table);
    let accept_offered_channels = table.flag("accept_offered_channels", false);
    // Repeated ones were reported one by one.
    let (systems, _) = Systems::new(exposed);
    table.finish();
    Some(Tunnel {
        name,
        servers,
        server_name,
        location,
        connections: u16::try_from(connections).unwrap_or(2),
        identity_dir: base.join(identity_dir?),
        token_file,
        systems: Arc::new(systems),
        channels,
        accept_offered_channels,
    })
}

fn servers(table: &mut Table<'_>) -> Vec<ServerAddress> {
    let texts = table.texts("server").unwrap_or_default();
    if texts.is_empty() {
        table.problem(
            "server",
            "is missing; for example \"tunnel.example.com:8042\", or a list of such",
        );
    }
    let mut servers = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(server) => servers.push(server),
            Err(error) => table.problem("server", error),
        }
    }
    servers
}

/// Reads mappings; those in `before` count as taken.
fn mappings(table: &mut Table<'_>, base: &Path, before: &[Mapping]) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    table.tables("mappings", |mut table| {
        let Some(mapping) = mapping(&mut table, base) else {
            return table.finish();
        };
        let (host, port) = (&mapping.virtual_host, mapping.virtual_port);
        let taken = before
            .iter()
            .chain(&mappings)
            .any(|other| other.virtual_host == *host && other.virtual_port == port);
        if taken {
            let text = "is mapped before; virtual host and port together must be unique within a tunnel";
            table.problem("virtual_host", format!("{host}:{port} {text}"));
        }
        table.finish();
        mappings.push(mapping);
    });
    mappings
}

fn mapping(table: &mut Table<'_>, base: &Path) -> Option<Mapping> {
    use crate::access::{HostInHeader, SystemProtocol as P};
    let virtual_host = host(table, "virtual_host", "\"backend.virtual\"");
    let virtual_port = table.port("virtual_port");
    let internal_host = host(table, "internal_host", "\"backend.corp.example\"");
    let internal_port = table.port("internal_port");
    let protocols = [
        ("HTTP", P::Http),
        ("HTTPS", P::Https),
        ("TCP", P::Tcp),
        ("TCPS", P::Tcps),
    ];
    let protocol = table.choice("protocol", &protocols).unwrap_or(P::Http);
    let in_header = [
        ("virtual", HostInHeader::Virtual),
        ("internal", HostInHeader::Internal),
    ];
    let host_in_header = table.choice("host_in_header", &in_header).unwrap_or_default();
    let matches = [("segment", PrefixMatch::Segment), ("string", PrefixMatch::String)];
    let prefix_match = table.choice("prefix_match", &matches).unwrap_or_default();
    let _ = table.text("description");
    let backend_ca = table.text("backend_ca_file").map(|file| base.join(file));
    if backend_ca.is_some() && !protocol.uses_tls() {
        table.problem(
            "backend_ca_file",
            "is of use for the protocols HTTPS and TCPS only",
        );
    }
    let mut resources = Vec::new();
    let count = table.tables("resources", |table| resources.extend(resource(table)));
    if count > 0 && !protocol.is_http() {
        table.problem("resources", "are of use for the protocols HTTP and HTTPS only");
    }
    Some(Mapping {
        virtual_host: virtual_host?.to_ascii_lowercase(),
        virtual_port: virtual_port?,
        internal_host: internal_host?,
        internal_port: internal_port?,
        protocol,
        host_in_header,
        prefix_match,
        backend_ca,
        resources,
    })
}

fn host(table: &mut Table<'_>, key: &'static str, example: &str) -> Option<String> {
    let host = table.required_text(key, example)?;
    // The alphabet of the tunnel's open header, so that whatever is configured can be asked for.
    match OpenRequest::new(&host, 1, landbridge_tunnel::Protocol::Tcp) {
        Ok(_) => Some(host),
        Err(error) => {
            table.problem(key, error.to_string().replace("the virtual host must", "must"));
            None
        }
    }
}

fn resource(mut table: Table<'_>) -> Option<Resource> {
    let path = table.required_text("path", "\"/\" or \"/sap/opu/odata\"");
    let enabled = table.flag("enabled", true);
    let exact = table.flag("exact_match_only", false);
    let upgrade = table.flag("websocket_upgrade_allowed", false);
    let _ = table.text("description");
    let resource = match Resource::new(&path?, exact) {
        Ok(resource) => Some(resource.enabled(enabled).upgrades(upgrade)),
        Err(error) => {
            table.problem("path", error);
            None
        }
    };
    table.finish();
    resource
}

fn limits(mut table: Table<'_>) -> Limits {
    let default = Limits::default();
    let mut seconds =
        |key, longest, value: Duration| table.number(key, 1..=longest).map_or(value, Duration::from_secs);
    let connect = seconds("connect_seconds", 300, default.connect);
    let response = seconds("response_seconds", 86_400, default.response);
    let idle = seconds("idle_seconds", 86_400, default.idle);
    let streams = table.number("streams_per_connection", 1..=4096);
    let head = table.number("request_head_bytes", 8192..=1 << 20);
    table.finish();
    let usize_or = |value: Option<u64>, default| {
        value
            .and_then(|value| usize::try_from(value).ok())
            .unwrap_or(default)
    };
    Limits {
        streams_per_connection: usize_or(streams, default.streams_per_connection),
        connect,
        response,
        idle,
        request_head: usize_or(head, default.request_head),
    }
}

#[cfg(test)]
mod tests;
