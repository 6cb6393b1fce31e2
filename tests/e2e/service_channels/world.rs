//! The processes of these tests, and what clients do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::routing::get;
use landbridge_destination::channel::{Channel, ChannelKey, ChannelKind};
use landbridge_tests::client::{request, try_send};
use landbridge_tests::process::{Process, run};
use landbridge_tests::serve_api::{Operator, TOKEN, authority};
use landbridge_tests::{PATIENCE, eventually, free_port, target};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster_proxy::{path, ready, store};

/// A cluster side with an acceptor, and a company beside it.
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) operator: Operator,
    pub(super) proxy: Process,
    _store: Process,
    tenant: String,
    pub(super) tunnel: u16,
    pub(super) admin: SocketAddr,
}

impl World {
    pub(super) async fn start() -> Self {
        let folder = TempDir::with_prefix("landbridge-channels-").unwrap();
        let authority = authority();
        std::fs::write(path(&folder, "ca.crt"), &authority.pem).unwrap();
        std::fs::write(path(&folder, "token"), TOKEN).unwrap();
        let (store, _) = store(&folder).await;
        let key: Value =
            serde_json::from_str(&std::fs::read_to_string(path(&folder, "key.json")).unwrap()).unwrap();
        let tenant = key["tenantid"]
            .as_str()
            .expect("the key says its subaccount")
            .to_owned();
        let operator = Operator::start(authority).await;
        operator.hub.complete();
        let tunnel = free_port();
        let (proxy, admin) = start_proxy(&folder, operator.address, tunnel).await;
        Self {
            folder,
            operator,
            proxy,
            _store: store,
            tenant,
            tunnel,
            admin,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connector with this in its configuration, and keys of its tunnel in front of that.
    pub(super) async fn connector(&self, name: &str, tunnel: &str, rest: &str) -> Process {
        let file = self.path(&format!("{name}.token"));
        let data = path(&self.folder, "proxy-data");
        let created = run(&[
            "tunnel",
            "create-token",
            "--data-dir",
            &data,
            "--tenant",
            &self.tenant,
            "--connector",
            name,
        ])
        .await;
        assert_eq!(created.code, Some(0), "{created:?}");
        std::fs::write(&file, created.stdout).unwrap();
        let text = format!(
            "audit_level = \"all\"\n[[tunnels]]\nserver = \"localhost:{}\"\nidentity_dir = \"{}\"\n\
             enrolment_token_file = \"{}\"\n{tunnel}\n{rest}",
            self.tunnel,
            self.path(&format!("{name}-identity")).display(),
            file.display()
        );
        let config = path(&self.folder, &format!("{name}.toml"));
        std::fs::write(&config, text).unwrap();
        let log = self.path(&format!("{name}.log"));
        Process::start(&["connector", "run", "--config", &config], &log)
    }

    /// Where connectors hold this channel, as the operator is told.
    pub(super) async fn held_at(&self, name: &str, expected: &[&str]) {
        let key = key(name);
        eventually(&format!("{name} is held at {expected:?}"), async || {
            let found = self.operator.board.read(|reports| {
                let mut holders = reports.holders(&key).map(|(_, locations)| locations.to_vec());
                holders.next()
            });
            match found {
                Some(found) if found == expected => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

pub(super) async fn start_proxy(
    folder: &TempDir,
    operator: SocketAddr,
    tunnel: u16,
) -> (Process, SocketAddr) {
    let file = path(folder, "proxy.json");
    let _ = std::fs::remove_file(&file);
    let arguments = [
        "proxy".to_owned(),
        format!("--operator=https://{operator}"),
        format!("--operator-ca={}", path(folder, "ca.crt")),
        format!("--token-file={}", path(folder, "token")),
        format!("--state-file={}", path(folder, "state.json")),
        "--listen-address=127.0.0.1".to_owned(),
        "--admin-listen=127.0.0.1:0".to_owned(),
        format!("--tunnel-listen=127.0.0.1:{tunnel}"),
        format!("--data-dir={}", path(folder, "proxy-data")),
        format!("--destination-service=default={}", path(folder, "key.json")),
        "--drain-delay=0".to_owned(),
        "--allow-local-targets".to_owned(),
        format!("--ready-file={file}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut process = Process::start(&arguments, Path::new(&path(folder, "proxy.log")));
    let admin = ready(&mut process, &file).await["admin"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    (process, admin)
}

pub(super) fn key(name: &str) -> ChannelKey {
    ChannelKey {
        namespace: Some("shop".into()),
        name: name.into(),
    }
}

/// A channel named as its service id.
pub(super) fn channel(name: &str, address: SocketAddr, change: impl FnOnce(&mut Channel)) -> Channel {
    let mut channel = Channel {
        key: key(name),
        kind: ChannelKind::Tcp,
        service_id: name.into(),
        subaccount: None,
        tenant: None,
        location_ids: vec![String::new()],
        address: address.to_string(),
        connector: None,
        generation: 1,
    };
    change(&mut channel);
    channel
}

pub(super) fn local(port: u16, kind: &str, id: &str) -> String {
    format!("[[service_channels]]\nservice_id = \"{id}\"\nkind = \"{kind}\"\nlocal_port = {port}\n\n")
}

pub(super) fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

pub(super) async fn shop() -> SocketAddr {
    target::serve(Router::new().fallback(get(async || "the shop"))).await
}

/// Waits until a client gets this answer through the port.
pub(super) async fn answers(port: u16, text: &str) {
    eventually(&format!("port {port} answers"), async || {
        match try_send(at(port), request("GET", "/", &[], "")).await {
            Ok(answer) if answer.text() == text => Ok(()),
            Ok(answer) => Err(answer.text()),
            Err(error) => Err(error),
        }
    })
    .await;
}

/// A client that is hung up on without an answer. The reset may come while it is still connecting; a port that is not
/// open would be another error.
pub(super) async fn refused(port: u16) {
    let mut rest = Vec::new();
    let result = match TcpStream::connect(at(port)).await {
        Ok(mut stream) => timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .expect("it ends"),
        Err(error) => Err(error),
    };
    let error = result.expect_err("a reset, not a proper end");
    assert_eq!(
        (error.kind(), rest.len()),
        (std::io::ErrorKind::ConnectionReset, 0)
    );
}

pub(super) async fn logs(process: &Process, words: &str) {
    eventually(&format!("the log says {words:?}"), async || {
        let log = process.log();
        if log.contains(words) { Ok(()) } else { Err(log) }
    })
    .await;
}

/// A connection that has carried a word.
pub(super) async fn open(port: u16) -> TcpStream {
    eventually(&format!("port {port} carries bytes"), async || {
        let mut stream = TcpStream::connect(at(port))
            .await
            .map_err(|error| error.to_string())?;
        stream
            .write_all(b"hello")
            .await
            .map_err(|error| error.to_string())?;
        let mut back = [0; 5];
        let read = timeout(PATIENCE, stream.read_exact(&mut back))
            .await
            .map_err(|error| error.to_string())?;
        read.map_err(|error| error.to_string())?;
        Ok(stream)
    })
    .await
}

pub(super) async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut back))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(back, text.as_bytes());
}
