//! Proxies beside the workloads: in their pods, or on their node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitStatus;

use super::super::landscape::Entry;
use super::{Mode, RESOLVE_PORT, Samples, World, common, ready, samples};
use crate::netns::{Netns, Output};
use crate::process::Process;

/// User of a sidecar, and the only one whose connections are not redirected.
const SIDECAR_UID: &str = "2102";

/// Where sidecars and the nodes' proxies answer for themselves.
const ADMIN_PORT: u16 = 20_412;

/// No capability; with these options of setpriv(1).
const POWERLESS: [&str; 3] = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];

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

/// A gateway where a proxy beside the workload would be.
pub struct Addressed {
    _process: Process,
    address: IpAddr,
}

impl Addressed {
    /// Where it serves an entry.
    pub fn address(&self, entry: &Entry) -> SocketAddr {
        SocketAddr::new(self.address, entry.port())
    }
}

impl Beside {
    /// What it has counted.
    pub async fn samples(&self) -> Samples {
        samples(&self.namespace, self.admin).await
    }

    /// The value of one of its metrics.
    pub async fn number(&self, name: &str) -> f64 {
        super::metrics::number(&self.page("/metrics").await, name)
    }

    /// A page of its admin port.
    pub async fn page(&self, path: &'static str) -> String {
        let page = super::get(&self.namespace, self.admin, path).await;
        page.expect("the admin port answers")
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
        self.landbridge(pod, &self.redirect_arguments(name))
    }

    /// The same without any capability.
    pub fn redirect_powerless(&self, name: &str, pod: &Netns) -> Output {
        let binary = crate::process::binary().display().to_string();
        let arguments = self.redirect_arguments(name);
        let mut words: Vec<&str> = POWERLESS.to_vec();
        words.push(&binary);
        words.extend(arguments.iter().map(String::as_str));
        pod.output("setpriv", &words, "")
    }

    fn redirect_arguments(&self, name: &str) -> Vec<String> {
        vec![
            "redirect".to_owned(),
            "apply".to_owned(),
            "--mode=sidecar".to_owned(),
            format!("--proxy-uid={SIDECAR_UID}"),
            format!("--operator={}", self.operator_url()),
            format!("--operator-ca={}", self.file("operator.crt")),
            format!("--token-file={}", self.file(&format!("{name}.token"))),
        ]
    }

    /// The sidecar of a pod that has its rules.
    pub async fn start_sidecar_alone(&self, name: &str, pod: &Netns) -> Beside {
        let (mut process, admin) = self.spawn_sidecar(name, pod).await;
        ready(&mut process, &self.file(&format!("{name}.json"))).await;
        Beside {
            process,
            namespace: pod.clone(),
            admin,
            name: name.to_owned(),
        }
    }

    /// The sidecar of a pod that has no rules; how it ends, and what it says.
    pub async fn sidecar_without_rules(&self, pod: &Netns) -> (ExitStatus, String) {
        let (mut process, _) = self.spawn_sidecar(pod.name(), pod).await;
        (process.wait().await, process.log())
    }

    async fn spawn_sidecar(&self, name: &str, pod: &Netns) -> (Process, SocketAddr) {
        let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ADMIN_PORT);
        let mut arguments = common(&self.folder, self.options.family, name, admin);
        arguments.extend([
            "--mode=sidecar".to_owned(),
            format!("--gateway={}", self.gateway_address(RESOLVE_PORT)),
        ]);
        // The user that is not redirected, without any capability; root is needed to become it.
        let user = ["--reuid", SIDECAR_UID, "--regid", SIDECAR_UID, "--clear-groups"];
        let powerless = [user.as_slice(), &POWERLESS].concat();
        let log = self.path(&format!("{name}.log"));
        (pod.start_as(&powerless, &arguments, &log).await, admin)
    }

    fn node_arguments(&self, name: &str, admin: SocketAddr) -> Vec<String> {
        std::fs::copy(self.path("node.token"), self.path(&format!("{name}.token"))).expect("a copy");
        let mut arguments = common(&self.folder, self.options.family, name, admin);
        // New connections are left to others first, and what is on its way then still has to be taken.
        arguments.retain(|argument| !argument.starts_with("--drain-delay"));
        arguments.extend([
            "--drain-delay=1".to_owned(),
            "--mode=node".to_owned(),
            format!("--destination-service=default={}", self.file("key.json")),
            format!("--additional-ca={}", self.file("targets.crt")),
        ]);
        arguments
    }

    /// A node's proxy without the capability that it needs; how it ends, and what it says.
    pub async fn node_without_net_admin(&self) -> (ExitStatus, String) {
        let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ADMIN_PORT);
        let arguments = self.node_arguments("node-0", admin);
        let log = self.path("node-0.log");
        let node = &self.network.node;
        let mut process = node.start_as(&POWERLESS, &arguments, &log).await;
        (process.wait().await, process.log())
    }

    /// Starts a node's proxy; several may overlap.
    pub async fn start_node(&self, number: u16) -> Beside {
        let name = format!("node-{number}");
        let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ADMIN_PORT + number);
        let arguments = self.node_arguments(&name, admin);
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

    /// Another gateway, in this namespace at this address: what a proxy there costs when nothing is intercepted.
    pub async fn addressed(&self, namespace: &Netns, address: IpAddr) -> Addressed {
        let name = "addressed";
        let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ADMIN_PORT + 10);
        std::fs::copy(self.path("proxy.token"), self.path("addressed.token")).expect("a copy");
        let mut arguments = common(&self.folder, self.options.family, name, admin);
        arguments.extend([
            format!("--listen-address={address}"),
            format!("--destination-service=default={}", self.file("key.json")),
        ]);
        let log = self.path("addressed.log");
        // Without a pod's address it would take nobody for a caller that it knows; its routes are open to the cluster.
        let mut process = namespace.start(&arguments, &log).await;
        ready(&mut process, &self.file("addressed.json")).await;
        Addressed {
            _process: process,
            address,
        }
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
