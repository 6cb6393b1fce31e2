//! A proxy as it is installed: a pod, a token bound to it, the operator's authority, the service key.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use landbridge_destination::serve::AUDIENCE;
use landbridge_operator::certificates::{BUNDLE_CONFIG_MAP, BUNDLE_KEY};
use landbridge_tests::operator::{Installation, PROXY_ACCOUNT};
use landbridge_tests::pods::Pods;
use landbridge_tests::process::Process;
use secrecy::ExposeSecret as _;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Pause between two tokens, which are for ten minutes.
const RENEW: Duration = Duration::from_secs(300);

/// A running proxy.
pub struct Proxy {
    pub process: Process,
    /// Where its ports are.
    pub address: IpAddr,
    mounts: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one, which will find the operator when there is one.
    pub async fn start(installation: &Installation, number: u8, operator: SocketAddr) -> Self {
        let name = format!("proxy-{number}");
        let pods = installation.pods.clone();
        let uid = pods.create(&name, PROXY_ACCOUNT, false).await;
        pods.runs(&name, &[&format!("10.90.0.{}", number + 1)], true)
            .await;
        // An address of its own: the ports of loopback proper may be in use.
        let address = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2 + number));
        let path = |kind: &str| installation.path(&format!("{name}.{kind}"));
        let text = |kind: &str| path(kind).to_str().expect("a path").to_owned();
        let key = installation.store.key().await;
        write(&path("key"), &key).await;
        write_token(&pods, &name, &uid, &path("token")).await;
        let mounts = vec![
            tokio::spawn(authority(
                installation.plane.client().await,
                installation.system.name().to_owned(),
                path("ca"),
            )),
            tokio::spawn(renew(pods, name.clone(), uid, path("token"))),
        ];
        let arguments = [
            "--log".to_owned(),
            "info".to_owned(),
            "proxy".to_owned(),
            "--operator".to_owned(),
            format!("https://{operator}"),
            "--operator-ca".to_owned(),
            text("ca"),
            "--token-file".to_owned(),
            text("token"),
            "--state-file".to_owned(),
            text("state"),
            "--listen-address".to_owned(),
            address.to_string(),
            "--admin-listen".to_owned(),
            "127.0.0.1:0".to_owned(),
            "--destination-service".to_owned(),
            format!("default={}", text("key")),
            "--allow-local-targets".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self {
            process: Process::start(&arguments, &path("log")),
            address,
            mounts,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for mount in &self.mounts {
            mount.abort();
        }
    }
}

async fn write(path: &Path, text: &str) {
    // A reader must never see half of it.
    let part = path.with_extension("part");
    tokio::fs::write(&part, text).await.expect("written");
    tokio::fs::rename(&part, path).await.expect("renamed");
}

async fn write_token(pods: &Pods, name: &str, uid: &str, path: &Path) {
    let token = pods.token(PROXY_ACCOUNT, name, uid, AUDIENCE).await;
    write(path, token.expose_secret()).await;
}

/// Renews the token, as a kubelet does.
async fn renew(pods: Pods, name: String, uid: String, path: std::path::PathBuf) {
    loop {
        sleep(RENEW).await;
        write_token(&pods, &name, &uid, &path).await;
    }
}

/// Mounts the operator's authority once it is there.
async fn authority(client: kube::Client, namespace: String, path: std::path::PathBuf) {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    loop {
        let found = api.get_opt(BUNDLE_CONFIG_MAP).await.expect("an answer");
        if let Some(pem) = found.and_then(|map| map.data?.remove(BUNDLE_KEY)) {
            return write(&path, &pem).await;
        }
        sleep(Duration::from_millis(50)).await;
    }
}
