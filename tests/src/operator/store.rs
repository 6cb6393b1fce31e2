//! A store as a process.

use std::path::{Path, PathBuf};

use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_destination::error::StoreError;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use serde_json::Value;

use crate::process::{Process, run};
use crate::{eventually, free_port};

/// A running `landbridge store serve` on a port that it keeps.
pub struct StoreProcess {
    /// The process.
    pub process: Process,
    folder: PathBuf,
    port: u16,
}

impl StoreProcess {
    /// Starts one with its data below `folder`.
    pub async fn start(folder: &Path) -> Self {
        let port = free_port();
        let folder = folder.to_owned();
        let process = launch(&folder, port).await;
        Self {
            process,
            folder,
            port,
        }
    }

    /// Starts it again, after it has ended.
    pub async fn restart(&mut self) {
        self.process = launch(&self.folder, self.port).await;
    }

    /// Where it is called.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A new service key.
    pub async fn key(&self) -> String {
        let data = self.folder.join("store");
        let data = data.to_str().expect("a path");
        let ended = run(&["store", "create-key", "--data-dir", data, "--url", &self.url()]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    }

    /// A client with a key of its own.
    pub async fn client(&self) -> StoreClient {
        client(&self.key().await)
    }

    /// Creates or replaces destinations.
    pub async fn put(&self, destinations: &[Value]) {
        let client = self.client().await;
        for destination in destinations {
            put(&client, destination)
                .await
                .unwrap_or_else(|error| panic!("{destination}: {error}"));
        }
    }
}

/// Creates or replaces a destination, with `NoAuthentication` unless it says how to authenticate.
///
/// # Errors
/// What the store says.
pub async fn put(client: &StoreClient, destination: &Value) -> Result<(), StoreError> {
    let mut destination = destination.clone();
    if destination["Type"] == "HTTP" && destination.get("Authentication").is_none() {
        destination["Authentication"] = "NoAuthentication".into();
    }
    client
        .put(&serde_json::from_value(destination).expect("a destination"))
        .await
}

fn client(key: &str) -> StoreClient {
    let dialer = Dialer::new(AddressPolicy::Any).expect("a dialer");
    let http = http_client::standard(dialer, &[]).expect("a client");
    StoreClient::new(Binding::from_json(key).expect("a binding"), http)
}

async fn launch(folder: &Path, port: u16) -> Process {
    let path = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    let (data, ready, listen) = (path("store"), path("store.ready"), format!("127.0.0.1:{port}"));
    let _ = std::fs::remove_file(&ready);
    let arguments = [
        "store",
        "serve",
        "--data-dir",
        &data,
        "--listen",
        &listen,
        "--admin-listen",
        "127.0.0.1:0",
        "--ready-file",
        &ready,
        "--drain",
        "1",
    ];
    let mut process = Process::start(&arguments, &folder.join("store.log"));
    eventually("the store is ready", async || {
        if let Some(status) = process.ended() {
            return Err(format!("it ended with {status}: {}", process.log()));
        }
        Path::new(&ready)
            .exists()
            .then_some(())
            .ok_or("no ready file".to_owned())
    })
    .await;
    process
}
