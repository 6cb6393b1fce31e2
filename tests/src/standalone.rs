//! A standalone Landbridge on free ports in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use serde_json::Value;
use tempfile::TempDir;

use crate::client;
use crate::eventually;
use crate::process::{Process, run};

/// A manifest of `name` for the destination `destination`.
pub fn manifest(name: &str, destination: &str) -> String {
    format!(
        "apiVersion: destination.connectivity.api.sap/v1\nkind: Destination\nmetadata:\n  name: {name}\nspec:\n  \
         destinationRef:\n    name: \"{destination}\"\n"
    )
}

/// The same, on a port of its own.
pub fn manifest_on(name: &str, destination: &str, port: u16) -> String {
    format!("{}  service:\n    port: {port}\n", manifest(name, destination))
}

/// A running `landbridge standalone`.
pub struct Standalone {
    /// The process.
    pub process: Process,
    /// Everything it has on disk, the tests' own files too.
    pub folder: TempDir,
    /// What it wrote into its ready file.
    pub ready: Value,
    /// Client of its store.
    pub store: StoreClient,
    options: Vec<String>,
}

impl Standalone {
    /// Starts one. Targets on loopback are allowed, since all targets of tests are there.
    pub async fn start(options: &[&str]) -> Self {
        let folder = TempDir::with_prefix("landbridge-test-").expect("a temporary folder");
        std::fs::create_dir(folder.path().join("manifests")).expect("a folder");
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let (process, ready) = launch(folder.path(), &options).await;
        let store = store_client(Path::new(ready["binding"].as_str().expect("an embedded store")));
        Self {
            process,
            folder,
            ready,
            store,
            options,
        }
    }

    /// Starts it again with the same folder, after it has ended.
    pub async fn restart(&mut self) {
        let (process, ready) = launch(self.folder.path(), &self.options).await;
        self.process = process;
        self.store = store_client(Path::new(ready["binding"].as_str().expect("an embedded store")));
        self.ready = ready;
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its admin endpoint.
    pub fn admin(&self) -> SocketAddr {
        address(&self.ready, "admin")
    }

    /// Its tunnel acceptor.
    pub fn tunnel(&self) -> SocketAddr {
        address(&self.ready, "tunnel")
    }

    /// Creates or replaces a destination.
    pub async fn put(&self, destination: Value) {
        let config = serde_json::from_value(destination).expect("a destination");
        self.store.put(&config).await.expect("the store takes it");
    }

    /// Declares a `Destination` named `name` for the destination `destination`.
    pub fn declare(&self, name: &str, destination: &str) {
        let text = manifest(name, destination);
        std::fs::write(self.path("manifests").join(format!("{name}.yaml")), text).expect("it can be written");
    }

    /// What the admin endpoint says of the `Destination` named `name`.
    pub async fn status(&self, name: &str) -> Option<Value> {
        let answer = client::try_send(self.admin(), client::request("GET", "/destinations", &[], ""))
            .await
            .ok()?;
        answer.json()["destinations"]
            .as_array()?
            .iter()
            .find(|one| one["name"] == name)
            .cloned()
    }

    /// Waits until `name` listens, and says where.
    pub async fn route(&self, name: &str) -> SocketAddr {
        eventually(&format!("a port for {name}"), async || {
            let status = self.status(name).await.ok_or("not declared")?;
            let address = status["address"].as_str().ok_or_else(|| status.to_string())?;
            address.parse::<SocketAddr>().map_err(|error| error.to_string())
        })
        .await
    }

    /// Creates a destination and declares it, both named `name`, and waits until it is ready.
    pub async fn serve(&self, name: &str, mut destination: Value) -> SocketAddr {
        destination["Name"] = name.into();
        self.put(destination).await;
        self.declare(name, name);
        eventually(&format!("{name} is ready"), async || {
            let status = self.status(name).await.ok_or("not declared")?;
            (status["ready"] == "True")
                .then_some(())
                .ok_or_else(|| status.to_string())
        })
        .await;
        self.route(name).await
    }

    /// An enrolment token for a connector named `connector`, in a file.
    pub async fn token(&self, connector: &str) -> PathBuf {
        let data = self.path("data");
        let data = data.to_str().expect("a path");
        let ended = run(&[
            "tunnel",
            "create-token",
            "--data-dir",
            data,
            "--connector",
            connector,
        ])
        .await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let file = self.path(&format!("token-{connector}"));
        std::fs::write(&file, ended.stdout).expect("it can be written");
        file
    }

    /// Starts a connector that exposes `mappings` (TOML), and waits until it is connected.
    pub async fn connector(&self, name: &str, mappings: &str) -> Connector {
        let token = self.token(name).await;
        let config = self.path(&format!("{name}.toml"));
        let text = format!(
            "[[tunnels]]\nserver = \"localhost:{}\"\nidentity_dir = \"{}\"\nenrolment_token_file = \"{}\"\n\n{mappings}",
            self.tunnel().port(),
            self.path(&format!("identity-{name}")).display(),
            token.display(),
        );
        std::fs::write(&config, text).expect("it can be written");
        let connector = Connector {
            process: start_connector(self.folder.path(), &config, name),
            config,
            name: name.into(),
        };
        self.connected(1).await;
        connector
    }

    /// Waits until at least `count` tunnel connections are there.
    pub async fn connected(&self, count: usize) {
        eventually(&format!("{count} tunnel connections"), async || {
            let sessions = self.sessions().await?;
            if sessions >= count {
                Ok(())
            } else {
                Err(format!("{sessions} now"))
            }
        })
        .await;
    }

    /// Tunnel connections at the moment.
    pub async fn sessions(&self) -> Result<usize, String> {
        let answer = client::try_send(self.admin(), client::request("GET", "/tunnels", &[], "")).await?;
        Ok(answer.json()["sessions"].as_array().map_or(0, Vec::len))
    }
}

/// A running `landbridge connector run`.
pub struct Connector {
    /// The process.
    pub process: Process,
    config: PathBuf,
    name: String,
}

impl Connector {
    /// Starts it again, after it has ended.
    pub fn restart(&mut self) {
        let folder = self.config.parent().expect("a folder");
        self.process = start_connector(folder, &self.config, &self.name);
    }
}

fn start_connector(folder: &Path, config: &Path, name: &str) -> Process {
    let log = folder.join(format!("{name}.log"));
    Process::start(
        &["connector", "run", "--config", config.to_str().expect("a path")],
        &log,
    )
}

async fn launch(folder: &Path, options: &[String]) -> (Process, Value) {
    let path = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    let (manifests, data, ready_file) = (path("manifests"), path("data"), path("ready.json"));
    let _ = std::fs::remove_file(&ready_file);
    let mut arguments = vec![
        "standalone",
        "--manifests",
        &manifests,
        "--data-dir",
        &data,
        "--ready-file",
        &ready_file,
    ];
    for (name, value) in [
        ("--store-listen", "127.0.0.1:0"),
        ("--admin-listen", "127.0.0.1:0"),
        ("--tunnel-listen", "127.0.0.1:0"),
        ("--ports", "0"),
    ] {
        if !options.iter().any(|option| option == name) {
            arguments.extend([name, value]);
        }
    }
    arguments.push("--allow-local-targets");
    arguments.extend(options.iter().map(String::as_str));
    let mut process = Process::start(&arguments, &folder.join("standalone.log"));
    let ready = eventually("standalone is ready", async || {
        if let Some(status) = process.ended() {
            return Err(format!("it ended with {status}: {}", process.log()));
        }
        let text = std::fs::read_to_string(&ready_file).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    })
    .await;
    (process, ready)
}

fn store_client(binding: &Path) -> StoreClient {
    let text = std::fs::read_to_string(binding).expect("the binding file");
    let dialer = Dialer::new(AddressPolicy::Any).expect("a dialer");
    let http = http_client::standard(dialer, &[]).expect("a client");
    StoreClient::new(Binding::from_json(&text).expect("a binding"), http)
}

fn address(ready: &Value, field: &str) -> SocketAddr {
    ready[field]
        .as_str()
        .expect("an address")
        .parse()
        .expect("an address")
}
