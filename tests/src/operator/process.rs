//! A replica of the operator as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Installation, SECRET, SECRET_KEY};
use crate::audit::{Event, Mark};
use crate::client::{Answer, request, try_send};
use crate::control_plane::ControlPlane;
use crate::process::Process;
use crate::{eventually, free_port};

/// A running `landbridge operator`.
pub struct OperatorProcess {
    /// The process.
    pub process: Process,
    /// How the API server's audit log calls it.
    pub user: String,
    arguments: Vec<String>,
    log: PathBuf,
    ready_file: PathBuf,
    admin: SocketAddr,
    ready: Value,
}

impl OperatorProcess {
    /// Starts one.
    pub(super) fn start(
        installation: &Installation,
        name: &str,
        kubeconfig: &Path,
        options: &[&str],
    ) -> Self {
        let system = installation.system.name();
        let ready_file = installation.path(&format!("{name}.ready"));
        let log = installation.path(&format!("{name}.log"));
        // Chosen here, so that a process that is started again is found again.
        let [mut admin, serve] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        if let Some(at) = options.iter().position(|&option| option == "--admin-listen") {
            let given: SocketAddr = options[at + 1].parse().expect("an address");
            admin.set_port(given.port());
        }
        let mut arguments: Vec<String> = [
            "--log",
            "info,landbridge_operator=debug",
            "operator",
            "--namespace",
            system,
            "--identity",
            name,
            "--advertise",
            "127.0.0.1",
            "--kubeconfig",
            kubeconfig.to_str().expect("a path"),
            "--ready-file",
            ready_file.to_str().expect("a path"),
            "--drain",
            "1",
        ]
        .map(ToOwned::to_owned)
        .into();
        let defaults = [
            ("--serve-listen", serve.to_string()),
            ("--admin-listen", admin.to_string()),
            ("--webhook-listen", "off".to_owned()),
            (
                "--destination-service",
                format!("default=secret:{system}/{SECRET}/{SECRET_KEY}"),
            ),
        ];
        for (option, value) in defaults {
            let other = options.iter().any(|known| known.starts_with("default="));
            if !options.contains(&option) || (option == "--destination-service" && !other) {
                arguments.extend([option.to_owned(), value]);
            }
        }
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        let process = launch(&arguments, &log, &ready_file);
        Self {
            process,
            user: format!("system:serviceaccount:{system}:{name}"),
            arguments,
            log,
            ready_file,
            admin,
            ready: Value::Null,
        }
    }

    /// Starts it again, after it has ended, and waits until it has listed everything.
    pub async fn restart(&mut self) {
        self.process = launch(&self.arguments, &self.log, &self.ready_file);
        self.until_listed().await;
    }

    /// Waits until it has listed everything.
    pub async fn until_listed(&mut self) {
        self.ready = eventually("the operator is ready", async || {
            if let Some(status) = self.process.ended() {
                return Err(format!("it ended with {status}: {}", self.process.log()));
            }
            let text = std::fs::read_to_string(&self.ready_file).map_err(|error| error.to_string())?;
            serde_json::from_str(&text).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Waits until it leads.
    pub async fn until_leading(&self) {
        eventually("it leads", async || {
            let status = self.page("/status").await?.json();
            (status["Leading"] == true)
                .then_some(())
                .ok_or_else(|| status.to_string())
        })
        .await;
    }

    /// Where proxies connect.
    pub fn serve(&self) -> SocketAddr {
        let address = self.ready["serve"].as_str().expect("an address");
        address.parse().expect("an address")
    }

    /// Port of the admission webhook.
    pub fn webhook(&self) -> SocketAddr {
        let address = self.ready["webhook"].as_str().expect("an address");
        address.parse().expect("an address")
    }

    /// What it has written since `mark`, apart from its lease and from questions that are writes in name only.
    pub fn writes(&self, plane: &ControlPlane, mark: Mark) -> Vec<Event> {
        let mut events = self.asked(plane, mark);
        events.retain(|event| {
            event.is_write() && !["leases", "tokenreviews"].contains(&event.resource.as_str())
        });
        events
    }

    /// What it had no right to since `mark`.
    pub fn forbidden(&self, plane: &ControlPlane, mark: Mark) -> Vec<Event> {
        let mut events = self.asked(plane, mark);
        events.retain(|event| event.code == 403);
        events
    }

    fn asked(&self, plane: &ControlPlane, mark: Mark) -> Vec<Event> {
        let mut events = plane.audit_since(mark);
        events.retain(|event| event.user == self.user);
        events
    }

    /// A page of its admin endpoint; an error when nobody answers.
    pub async fn page(&self, path: &str) -> Result<Answer, String> {
        try_send(self.admin, request("GET", path, &[], "")).await
    }

    /// The value of a metric, by everything before it; none while it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.page("/metrics").await.ok()?.text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }
}

fn launch(arguments: &[String], log: &Path, ready_file: &Path) -> Process {
    // It removes an old one itself, but maybe later than it is looked for.
    let _ = std::fs::remove_file(ready_file);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Process::start(&arguments, log)
}
