//! A connector in the company, with a configuration that a test can change.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use landbridge_tests::process::binary;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::process::Child;

use super::trial::shell;
use crate::company::{CHANNEL, ERP};
use crate::world::{SYSTEM, World};

/// A port of the company's host on which nobody listens.
const NOBODY: u16 = 9;

/// Where its location is, as destinations name it.
pub const LOCATION: &str = "plant";

pub struct Connector {
    name: String,
    folder: TempDir,
    inside: IpAddr,
    /// The service of the cluster that it has a port for.
    service: Option<&'static str>,
    /// Whether its configuration names a file for a token.
    with_token: Mutex<bool>,
    process: Mutex<Option<Child>>,
}

impl Connector {
    pub async fn new(world: &World, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            folder: TempDir::new().expect("a folder"),
            inside: world.cluster.company().address(),
            service: None,
            with_token: Mutex::new(true),
            process: Mutex::default(),
        }
    }

    /// With a port for a service of the cluster.
    pub fn holding(mut self, service: &'static str) -> Self {
        self.service = Some(service);
        self
    }

    /// A token to enrol with, made by the page's command.
    pub async fn token(&self, world: &World) -> String {
        let create =
            super::page::row("no-token").remedy(&[("NAME", &self.name), ("landbridge-system", SYSTEM)]);
        shell(world, &create).await.success()
    }

    /// Leaves the token's file out of the configuration.
    pub fn without_token(&self) {
        *self.with_token.lock() = false;
    }

    pub fn enrol(&self, token: &str) {
        *self.with_token.lock() = true;
        std::fs::write(self.token_file(), token).expect("a file");
    }

    /// Starts it with this server and what the company exposes; one that runs is ended first.
    pub fn start(&self, world: &World, server: &str) {
        self.stop();
        let config = self.folder.path().join("connector.toml");
        std::fs::write(&config, self.configuration(server)).expect("a file");
        let log = std::fs::File::create(self.log_file()).expect("a log");
        let mut command = world.cluster.company().command(binary());
        command
            .args(["connector", "run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .kill_on_drop(true);
        *self.process.lock() = Some(command.spawn().expect("it starts"));
    }

    pub fn stop(&self) {
        drop(self.process.lock().take());
    }

    fn configuration(&self, server: &str) -> String {
        let mapping = |host: &str, internal: u16| {
            format!(
                "[[mappings]]\nvirtual_host = \"{host}\"\nvirtual_port = 44300\ninternal_host = \"{}\"\n\
                 internal_port = {internal}\nprotocol = \"HTTP\"\n[[mappings.resources]]\npath = \"/stock\"\n",
                self.inside
            )
        };
        let token = if *self.with_token.lock() {
            format!("enrolment_token_file = \"{}\"\n", self.token_file().display())
        } else {
            String::new()
        };
        let channel = self.service.map(|service| {
            format!(
                "[[tunnels.service_channels]]\nservice_id = \"{service}\"\nkind = \"TCP\"\nlocal_port = {CHANNEL}\n"
            )
        });
        format!(
            "[[tunnels]]\nserver = \"{server}\"\nidentity_dir = \"{}\"\n{token}\
             location_id = \"{LOCATION}\"\n{}{}{}",
            self.identity().display(),
            channel.unwrap_or_default(),
            mapping("erp.company", ERP),
            mapping("down.company", NOBODY),
        )
    }

    pub fn identity(&self) -> PathBuf {
        self.folder.path().join("identity")
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has said since its last start.
    pub fn log(&self) -> String {
        read(&self.log_file())
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
