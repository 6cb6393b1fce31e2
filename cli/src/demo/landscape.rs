//! The demo's landscape: starts everything, in the order a real installation would.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_destination::properties::DestinationConfig;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::Progress;
use super::process::{Process, command};
use super::targets::Targets;
use crate::ready::Ready;

/// How long everything together may take to start; a slow machine needs 3 s.
const START: Duration = Duration::from_secs(60);

/// Manifests and destinations: the very files of `examples/`, so that they cannot rot.
const MANIFESTS: [(&str, &str); 3] = [
    ("internet.yaml", include_str!("../../../examples/internet.yaml")),
    (
        "on-premise.yaml",
        include_str!("../../../examples/on-premise.yaml"),
    ),
    ("gateway.yaml", include_str!("../../../examples/gateway.yaml")),
];
const DESTINATIONS: [&str; 5] = [
    include_str!("../../../examples/destinations/weather-api.json"),
    include_str!("../../../examples/destinations/billing-api.json"),
    include_str!("../../../examples/destinations/orders-api.json"),
    include_str!("../../../examples/destinations/erp-http.json"),
    include_str!("../../../examples/destinations/erp-tcp.json"),
];
const CONNECTOR: &str = include_str!("../../../examples/connector.toml");

/// Everything that runs.
pub(super) struct Landscape {
    /// The systems called.
    pub targets: Targets,
    /// Where each `Destination` is served.
    pub routes: HashMap<String, SocketAddr>,
    ready: Ready,
    standalone: Process,
    connector: Process,
    // Deleted last.
    _folder: TempDir,
}

impl Landscape {
    /// Starts everything.
    ///
    /// # Errors
    /// What did not start, with the end of its log.
    pub(super) async fn start(progress: &Progress) -> Result<Self> {
        let until = Instant::now() + START;
        let folder = tempfile::Builder::new()
            .prefix("landbridge-demo-")
            .tempdir()
            .context("making a temporary folder")?;
        let files = Files::new(folder.path())?;

        progress.step("starting the systems to call");
        let targets = Targets::start().await?;
        std::fs::write(&files.authority, &targets.authority).context("writing the demo authority")?;

        progress.step("starting store, tunnel acceptor and proxy");
        let mut standalone = Process::start("standalone", folder.path(), &files.standalone_arguments())?;
        let ready = wait_ready(&files.ready, &mut standalone, until).await?;

        progress.step("creating destinations in the store");
        let client = store_client(&ready)?;
        for text in DESTINATIONS {
            client
                .put(&destination(text, &targets)?)
                .await
                .context("creating a destination")?;
        }

        progress.step("enrolling the connector with a one-time token");
        let connector = start_connector(&files, &ready, &targets, folder.path()).await?;

        for (name, text) in MANIFESTS {
            std::fs::write(files.manifests.join(name), text).context("writing a manifest")?;
        }
        progress.step("waiting until every destination is ready");
        let mut landscape = Self {
            targets,
            routes: HashMap::new(),
            ready,
            standalone,
            connector,
            _folder: folder,
        };
        landscape.wait_programmed(until).await?;
        Ok(landscape)
    }

    async fn wait_programmed(&mut self, until: Instant) -> Result<()> {
        loop {
            self.standalone.check()?;
            self.connector.check()?;
            let missing = match self.look().await {
                Ok(()) => return Ok(()),
                Err(missing) => missing,
            };
            if Instant::now() > until {
                bail!(
                    "not ready after {} s: {missing:#}\n{}",
                    START.as_secs(),
                    self.logs()
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Takes the routes from the admin endpoint, if all are served and a connector is connected.
    async fn look(&mut self) -> Result<()> {
        let status = self.admin("/destinations").await?;
        let declared = status["destinations"].as_array().context("no destinations yet")?;
        let expected: usize = MANIFESTS
            .iter()
            .map(|(_, text)| text.matches("kind: Destination").count())
            .sum();
        if declared.len() != expected {
            bail!("{} of {expected} manifests are read", declared.len());
        }
        for one in declared {
            let name = one["name"].as_str().unwrap_or_default();
            let address = one["address"].as_str().filter(|_| one["ready"] == "True");
            let address = address.with_context(|| format!("{name} is not ready: {one}"))?;
            self.routes.insert(name.to_owned(), address.parse()?);
        }
        let tunnels = self.admin("/tunnels").await?;
        if tunnels["sessions"].as_array().is_none_or(Vec::is_empty) {
            bail!("no connector is connected");
        }
        Ok(())
    }

    async fn admin(&self, path: &str) -> Result<Value> {
        let (_, text) = super::client::get(self.ready.admin, path).await?;
        serde_json::from_str(&text).with_context(|| format!("reading {path}: {text}"))
    }

    /// What to try by hand.
    pub(super) fn invitation(&self) -> String {
        let url = |name: &str| {
            self.routes
                .get(name)
                .map_or_else(String::new, |address| format!("http://{address}"))
        };
        let billing = url("billing");
        format!(
            "\nEverything keeps running. Try, in another terminal:\n\
             \n  curl -i {}/weather\n  curl -i {billing}/invoices\n  curl -i {}/orders\n  curl -i {}/stock\n  \
             curl -i {}/admin/users\n  curl -i -H 'X-Destination-Name: billing-api' {}/invoices\n  \
             curl -s http://{admin}/destinations\n  curl -s http://{admin}/metrics | grep landbridge_proxy\n\
             \nCtrl-C stops it.\n",
            url("weather"),
            url("orders"),
            url("erp"),
            url("erp"),
            url("any"),
            admin = self.ready.admin,
        )
    }

    /// The ends of the children's logs.
    pub(super) fn logs(&self) -> String {
        format!(
            "standalone:\n{}\nconnector:\n{}",
            self.standalone.log_tail(),
            self.connector.log_tail()
        )
    }

    /// Stops everything: the connector first, as it would be seen by the proxy.
    pub(super) async fn stop(self) {
        tokio::join!(self.connector.stop(), self.standalone.stop());
    }
}

/// Where things are in the temporary folder.
struct Files {
    manifests: PathBuf,
    data: PathBuf,
    ready: PathBuf,
    authority: PathBuf,
    token: PathBuf,
    connector: PathBuf,
    identity: PathBuf,
}

impl Files {
    fn new(folder: &Path) -> Result<Self> {
        let files = Self {
            manifests: folder.join("manifests"),
            data: folder.join("data"),
            ready: folder.join("ready.json"),
            authority: folder.join("internet-authority.pem"),
            token: folder.join("enrolment-token"),
            connector: folder.join("connector.toml"),
            identity: folder.join("identity"),
        };
        std::fs::create_dir(&files.manifests).context("making the manifests folder")?;
        Ok(files)
    }

    fn standalone_arguments(&self) -> Vec<&str> {
        let path = |path: &'static str| path;
        vec![
            "standalone",
            path("--manifests"),
            text(&self.manifests),
            "--store",
            "embedded",
            "--store-listen",
            "127.0.0.1:0",
            "--data-dir",
            text(&self.data),
            "--ports",
            "0",
            "--admin-listen",
            "127.0.0.1:0",
            "--tunnel-listen",
            "127.0.0.1:0",
            "--additional-ca",
            text(&self.authority),
            "--allow-local-targets",
            "--ready-file",
            text(&self.ready),
        ]
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

async fn wait_ready(file: &Path, standalone: &mut Process, until: Instant) -> Result<Ready> {
    loop {
        standalone.check()?;
        if let Some(ready) = Ready::read(file)? {
            return Ok(ready);
        }
        if Instant::now() > until {
            bail!(
                "the proxy is not ready after {} s:\n{}",
                START.as_secs(),
                standalone.log_tail()
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn store_client(ready: &Ready) -> Result<StoreClient> {
    let file = ready
        .binding
        .as_ref()
        .context("standalone has not written a binding")?;
    let binding = Binding::from_json(&std::fs::read_to_string(file).context("reading the binding")?)?;
    let http = http_client::standard(Dialer::new(AddressPolicy::Any)?, &[])?;
    Ok(StoreClient::new(binding, http))
}

/// A destination of `examples/` with this run's addresses and secrets.
fn destination(text: &str, targets: &Targets) -> Result<DestinationConfig> {
    let mut config: DestinationConfig = serde_json::from_str(text)?;
    let here = |url: &str| url.replace("https://api.example.com", &targets.internet);
    for key in ["URL", "tokenServiceURL"] {
        if let Some(url) = config.get(key).map(here) {
            config.set(key, url);
        }
    }
    if config.get("Password").is_some() {
        config
            .set("User", targets.secrets.basic.0.as_str())
            .set("Password", targets.secrets.basic.1.as_str());
    }
    if config.get("clientSecret").is_some() {
        config.set("clientId", targets.secrets.client.0.as_str());
        config.set("clientSecret", targets.secrets.client.1.as_str());
    }
    Ok(config)
}

async fn start_connector(files: &Files, ready: &Ready, targets: &Targets, folder: &Path) -> Result<Process> {
    let tunnel = ready.tunnel.context("standalone has no tunnel acceptor")?;
    let tenant = ready
        .tenant
        .clone()
        .context("standalone has no tenant of its own")?;
    let token = command(&[
        "tunnel",
        "create-token",
        "--data-dir",
        text(&files.data),
        "--tenant",
        &tenant,
        "--connector",
        "demo-company",
    ])?
    .output()
    .await
    .context("creating the enrolment token")?;
    if !token.status.success() {
        bail!(
            "creating the enrolment token: {}",
            String::from_utf8_lossy(&token.stderr)
        );
    }
    std::fs::write(&files.token, &token.stdout).context("writing the enrolment token")?;
    // The connector's example, pointed at this run's addresses.
    let config = CONNECTOR
        .replace("tunnel.example.com:8042", &format!("localhost:{}", tunnel.port()))
        .replace("/etc/landbridge/enrolment-token", text(&files.token))
        .replace("/var/lib/landbridge/connector", text(&files.identity))
        .replace(
            "10.1.2.3\"\ninternal_port = 8000",
            &format!("127.0.0.1\"\ninternal_port = {}", targets.erp.port()),
        )
        .replace(
            "10.1.2.4\"\ninternal_port = 5672",
            &format!("127.0.0.1\"\ninternal_port = {}", targets.echo.port()),
        );
    std::fs::write(&files.connector, config).context("writing the connector's configuration")?;
    Process::start(
        "connector",
        folder,
        &["connector", "run", "--config", text(&files.connector)],
    )
}
