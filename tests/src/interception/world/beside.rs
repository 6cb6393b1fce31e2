//! Proxies beside the workloads: in their pods, or on their node.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Mode, RESOLVE_PORT, Samples, World, common, ready, samples};
use crate::netns::{Netns, Output};
use crate::process::Process;

/// User of a sidecar, and the only one whose connections are not redirected.
const SIDECAR_UID: &str = "2102";

/// Where sidecars and the nodes' proxies answer for themselves.
const ADMIN_PORT: u16 = 20_412;

/// A running proxy beside a workload.
pub struct Beside {
    /// The process.
    pub process: Process,
    /// Where it runs.
    pub namespace: Netns,
    /// Its admin port, from there.
    pub admin: SocketAddr,
    name: String,
}

impl Beside {
    /// What it has counted.
    pub async fn samples(&self) -> Samples {
        samples(&self.namespace, self.admin).await
    }

    /// Its name, that of its log too.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl World {
    /// Writes a pod's rules and starts its sidecar, as the two containers of an injected pod do.
    pub async fn start_sidecar(&self, name: &str, pod: &Netns) -> Beside {
        let applied = self.redirect(name, pod);
        assert_eq!(applied.code, Some(0), "{applied:?}");
        self.start_sidecar_alone(name, pod).await
    }

    /// What the init container does.
    pub fn redirect(&self, name: &str, pod: &Netns) -> Output {
        let arguments = [
            "redirect".to_owned(),
            "apply".to_owned(),
            "--mode=sidecar".to_owned(),
            format!("--proxy-uid={SIDECAR_UID}"),
            format!("--operator={}", self.operator_url()),
            format!("--operator-ca={}", self.file("operator.crt")),
            format!("--token-file={}", self.file(&format!("{name}.token"))),
        ];
        self.landbridge(pod, &arguments)
    }

    /// The sidecar of a pod that has its rules.
    pub async fn start_sidecar_alone(&self, name: &str, pod: &Netns) -> Beside {
        let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ADMIN_PORT);
        let mut arguments = common(&self.folder, self.options.family, name, admin);
        arguments.extend([
            "--mode=sidecar".to_owned(),
            format!("--gateway={}", self.gateway_address(RESOLVE_PORT)),
        ]);
        // The user that is not redirected, without any capability; root is needed to become it.
        let powerless = [
            "--reuid",
            SIDECAR_UID,
            "--regid",
            SIDECAR_UID,
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--no-new-privs",
        ];
        let (log, file) = (
            self.path(&format!("{name}.log")),
            self.file(&format!("{name}.json")),
        );
        let mut process = pod.start_as(&powerless, &arguments, &log).await;
        ready(&mut process, &file).await;
        Beside {
            process,
            namespace: pod.clone(),
            admin,
            name: name.to_owned(),
        }
    }

    /// Starts a node's proxy; several may overlap.
    pub async fn start_node(&self, number: u16) -> Beside {
        let name = format!("node-{number}");
        let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ADMIN_PORT + number);
        std::fs::copy(self.path("node.token"), self.path(&format!("{name}.token"))).expect("a copy");
        let mut arguments = common(&self.folder, self.options.family, &name, admin);
        arguments.extend([
            "--mode=node".to_owned(),
            format!("--destination-service=default={}", self.file("key.json")),
        ]);
        let (log, file) = (
            self.path(&format!("{name}.log")),
            self.file(&format!("{name}.json")),
        );
        let node = &self.network.node;
        let mut process = node.start(&arguments, &log).await;
        ready(&mut process, &file).await;
        Beside {
            process,
            namespace: node.clone(),
            admin,
            name,
        }
    }

    /// Runs `landbridge <arguments>` to its end in a namespace.
    pub fn landbridge(&self, namespace: &Netns, arguments: &[String]) -> Output {
        let binary = crate::process::binary().display().to_string();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        namespace.output(&binary, &arguments, "")
    }

    /// What is beside a pod.
    pub fn beside(&self, pod: &Netns) -> Option<&Beside> {
        match self.options.mode {
            Mode::Gateway => None,
            Mode::Node => self.beside.first(),
            Mode::Sidecar => self.beside.iter().find(|one| one.name == pod.name()),
        }
    }
}

/// Whether the binary knows how gateways answer sidecars.
pub(super) fn gateways_resolve() -> bool {
    let help = std::process::Command::new(crate::process::binary())
        .args(["proxy", "--help"])
        .output()
        .expect("it starts");
    String::from_utf8_lossy(&help.stdout).contains("--resolve-listen")
}
