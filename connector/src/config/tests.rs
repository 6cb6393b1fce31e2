use std::fs;

use super::*;
use crate::access::{Change, HostInHeader, SystemProtocol, Verdict};

fn load(name: &str, text: &str) -> Result<Config, InvalidConfig> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    Config::load(&path, |_| None)
}

const TOML: &str = r#"
admin_listen = "127.0.0.1:9464"
audit_level = "all"

[limits]
connect_seconds = 3

[[tunnels]]
server = ["a.example:8042", "b.example:8042"]
location_id = "hq"
display_name = "production"
identity_dir = "identity"
enrolment_token_file = "token"

[[mappings]]
virtual_host = "Backend.Virtual"
virtual_port = 1234
internal_host = "backend.corp"
internal_port = 8443
protocol = "HTTPS"
host_in_header = "internal"
description = "orders"
resources = [
  { path = "/orders" },
  { path = "/ws", exact_match_only = true, websocket_upgrade_allowed = true },
  { path = "/old", enabled = false },
]

[[mappings]]
virtual_host = "database"
virtual_port = 5432
internal_host = "10.0.0.7"
internal_port = 5432
protocol = "TCP"
"#;

const YAML: &str = r#"
admin_listen: 127.0.0.1:9464
audit_level: all
limits: { connect_seconds: 3 }
tunnels:
  - server: [a.example:8042, b.example:8042]
    location_id: hq
    display_name: production
    identity_dir: identity
    enrolment_token_file: token
    mappings:
      - virtual_host: database
        virtual_port: "5432"
        internal_host: 10.0.0.7
        internal_port: 5432
        protocol: tcp
mappings:
  - virtual_host: Backend.Virtual
    virtual_port: 1234
    internal_host: backend.corp
    internal_port: 8443
    protocol: HTTPS
    host_in_header: internal
    description: orders
    resources:
      - path: /orders
      - { path: /ws, exact_match_only: true, websocket_upgrade_allowed: true }
      - { path: /old, enabled: false }
"#;

#[test]
fn toml_and_yaml_say_the_same() {
    for (name, text) in [("c.toml", TOML), ("c.yaml", YAML), ("c.yml", YAML)] {
        let config = load(name, text).unwrap();
        assert_eq!(config.audit, AuditLevel::All);
        assert_eq!(config.limits.connect, Duration::from_secs(3));
        assert_eq!(config.limits.idle, Limits::default().idle);
        assert_eq!(config.admin_listen.unwrap().port(), 9464);
        let tunnel = &config.tunnels[0];
        assert_eq!(
            (tunnel.name.as_str(), tunnel.location.as_str(), tunnel.connections),
            ("production", "hq", 2)
        );
        assert_eq!(tunnel.servers[1].to_string(), "b.example:8042");
        assert!(tunnel.identity_dir.is_absolute() && tunnel.identity_dir.ends_with("identity"));
        assert!(tunnel.token_file.as_ref().unwrap().ends_with("token"));
        let system = tunnel.systems.find("backend.virtual", 1234).unwrap();
        assert_eq!(
            (system.internal_host.as_str(), system.internal_port),
            ("backend.corp", 8443)
        );
        assert_eq!(
            (system.protocol, system.host_in_header),
            (SystemProtocol::Https, HostInHeader::Internal)
        );
        assert_eq!(system.check("/orders/1", Change::No), Verdict::Allowed);
        assert_eq!(system.check("/old", Change::No), Verdict::Denied);
        assert_eq!(system.check("/ws", Change::WebSocket), Verdict::Allowed);
        assert_eq!(
            tunnel.systems.find("database", 5432).unwrap().protocol,
            SystemProtocol::Tcp
        );
    }
}

#[test]
fn every_mistake_is_told_in_one_run() {
    let text = r#"
        audit_level = "loud"
        admin_listen = "9464"
        colour = "red"
        [limits]
        connect_seconds = 0
        [[tunnels]]
        server = "https://tunnel.example"
        location_id = "a/b"
        connections = 99
        identity_dir = "one"
        enrolment_token = "lbe1.x.y.z"
        [[tunnels]]
        server = 7
        identity_dir = "one"
        [[mappings]]
        virtualHost = "x"
        virtual_port = 70000
        internal_host = "in ternal"
        internal_port = 1
        protocol = "RFC"
        [[mappings]]
        virtual_host = "twice"
        virtual_port = 80
        internal_host = "a"
        internal_port = 80
        resources = [{ path = "relative" }, { path = "/a/../b" }, { path = "/a%2fb", enable = true }, { enabled = "yes" }]
        [[mappings]]
        virtual_host = "TWICE"
        virtual_port = 80
        internal_host = "b"
        internal_port = 80
        protocol = "TCP"
        backend_ca_file = "ca.pem"
        resources = [{ path = "/" }]
    "#;
    let error = load("c.toml", text).unwrap_err();
    let found: Vec<(&str, &str)> = error
        .problems()
        .iter()
        .map(|problem| (problem.field.as_str(), problem.message.as_str()))
        .collect();
    for (field, words) in [
        ("audit_level", "off, security, all"),
        ("admin_listen", "127.0.0.1:9464"),
        ("colour", "not known"),
        ("limits.connect_seconds", "1 to 300"),
        ("tunnels[0].server", "host:port"),
        ("tunnels[0].location_id", "location id"),
        ("tunnels[0].connections", "1 to 8"),
        ("tunnels[0].enrolment_token", "enrolment_token_file"),
        ("tunnels[1].server", "not a number"),
        ("tunnels[1].identity_dir", "tunnels[0]"),
        ("mappings[0].virtualHost", "did you mean virtual_host?"),
        ("mappings[0].virtual_host", "is missing"),
        ("mappings[0].virtual_port", "1 to 65535"),
        ("mappings[0].internal_host", "letters"),
        ("mappings[0].protocol", "HTTP, HTTPS, TCP, TCPS"),
        ("mappings[1].resources[0].path", "begin with /"),
        ("mappings[1].resources[1].path", "dot segments"),
        ("mappings[1].resources[2].path", "ambiguous"),
        ("mappings[1].resources[2].enable", "did you mean enabled?"),
        ("mappings[1].resources[3].path", "is missing"),
        ("mappings[1].resources[3].enabled", "true or false"),
        ("mappings[2].virtual_host", "unique"),
        ("mappings[2].backend_ca_file", "HTTPS and TCPS"),
        ("mappings[2].resources", "HTTP and HTTPS"),
    ] {
        let told = found
            .iter()
            .any(|(at, message)| *at == field && message.contains(words));
        assert!(told, "{field}: {words}\n{error}");
    }
    assert!(!error.to_string().contains("lbe1.x.y.z"), "tokens are not shown");
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    for (name, text, words) in [
        ("c.toml", "", "tunnels: is missing"),
        ("c.toml", "a = [", "c.toml"),
        ("c.yaml", "a: [", "c.yaml"),
        ("c.yaml", "- a", "must be a table"),
        ("c.json", "{}", "must end with .toml, .yaml or .yml"),
        ("c.toml", "tunnels = 1", "must be a list of tables"),
        ("c.toml", "tunnels = [1]", "tunnels[0]: must be a table"),
    ] {
        let error = load(name, text).unwrap_err().to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
    let missing = Config::load(Path::new("/does/not/exist.toml"), |_| None)
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("/does/not/exist.toml") && missing.contains("cannot be read"),
        "{missing}"
    );
    let large = load("c.toml", &"#".repeat(2 << 20)).unwrap_err().to_string();
    assert!(large.contains("larger than 1 MiB"), "{large}");
}

#[test]
fn the_token_of_the_environment_is_kept_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, TOML).unwrap();
    let config = Config::load(&path, |name| {
        (name == TOKEN_VARIABLE).then(|| "lbe1.secret".to_owned())
    })
    .unwrap();
    assert!(config.enrolment_token.is_some());
    assert!(!format!("{config:?}").contains("lbe1.secret"));
}

#[test]
fn service_channels_stand_in_their_tunnel_or_alone() {
    let alone = r#"
        [[service_channels]]
        service_id = "web"
        local_port = 8080

        [[service_channels]]
        service_id = "Space:DB:1"
        kind = "hana"
        local_port = "32215"
        listen = "0.0.0.0"
        connections = 3
        max_clients = 5
        enabled = false
        description = "reports"

        [[tunnels]]
        server = "a.example:8042"
        identity_dir = "one"
        accept_offered_channels = true

        [[tunnels.service_channels]]
        service_id = "abap"
        kind = "RFC"
        local_port = 3301
    "#;
    let config = load("c.toml", alone).unwrap();
    let tunnel = &config.tunnels[0];
    assert!(tunnel.accept_offered_channels);
    let channels: Vec<_> = tunnel
        .channels
        .iter()
        .map(|one| {
            (
                one.name.to_string(),
                one.listen.to_string(),
                one.connections,
                one.max_clients,
                one.enabled,
            )
        })
        .collect();
    let expected = [
        ("RFC \"abap\"", "127.0.0.1:3301", 1, 1000, true),
        ("TCP \"web\"", "127.0.0.1:8080", 1, 1000, true),
        ("HANA \"Space:DB:1\"", "0.0.0.0:32215", 3, 5, false),
    ];
    let expected = expected.map(|(name, listen, connections, clients, enabled)| {
        (name.to_owned(), listen.to_owned(), connections, clients, enabled)
    });
    assert_eq!(channels, expected);
    let plain = load("c.toml", TOML).unwrap();
    assert!(plain.tunnels[0].channels.is_empty() && !plain.tunnels[0].accept_offered_channels);
}

#[test]
fn wrong_service_channels_are_told_in_one_run() {
    let text = r#"
        [[tunnels]]
        server = "a.example:8042"
        identity_dir = "one"
        [[tunnels.service_channels]]
        service_id = "a/b"
        local_port = 1
        [[tunnels.service_channels]]
        local_port = 0
        kind = "VirtualMachine"
        listen = "localhost"
        connections = 101
        max_clients = 0
        enable = true
        [[tunnels.service_channels]]
        service_id = "abap"
        kind = "RFC"
        local_port = 3400
        [[tunnels.service_channels]]
        service_id = "db"
        kind = "HANA"
        local_port = 30015
        [[tunnels.service_channels]]
        service_id = "one"
        local_port = 9000
        [[tunnels.service_channels]]
        service_id = "two"
        local_port = 9000
        listen = "0.0.0.0"
        [[tunnels]]
        server = "b.example:8042"
        identity_dir = "two"
        [[service_channels]]
        service_id = "whose"
        local_port = 9001
    "#;
    let error = load("c.toml", text).unwrap_err();
    for (field, words) in [
        ("tunnels[0].service_channels[0].service_id", "no slashes"),
        ("tunnels[0].service_channels[1].service_id", "is missing"),
        ("tunnels[0].service_channels[1].local_port", "1 to 65535"),
        ("tunnels[0].service_channels[1].kind", "TCP, RFC, HANA, K8S"),
        ("tunnels[0].service_channels[1].listen", "127.0.0.1"),
        ("tunnels[0].service_channels[1].connections", "1 to 100"),
        ("tunnels[0].service_channels[1].max_clients", "1 to 10000"),
        ("tunnels[0].service_channels[1].enable", "did you mean enabled?"),
        ("tunnels[0].service_channels[2].local_port", "33nn"),
        ("tunnels[0].service_channels[3].local_port", "3nn15"),
        ("service_channels", "the same port 0.0.0.0:9000"),
        ("service_channels", "[[tunnels.service_channels]]"),
    ] {
        let told = error
            .problems()
            .iter()
            .any(|problem| problem.field == field && problem.message.contains(words));
        assert!(told, "{field}: {words}\n{error}");
    }
}
