//! Bringing a cluster up and taking it down. Everything here blocks.

mod credentials;
mod leftovers;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use landbridge_control_plane::credentials::Authority;
use landbridge_control_plane::flags::{self, Ports, Reach};
use landbridge_control_plane::folders::{self, RunFolder};
use landbridge_control_plane::{Life, NodePrograms, Programs, Progress, Server, Tool, tool};
use landbridge_oci_image::images;

use crate::company::Uplink;
use crate::machine::{Common, Machine, write};
use crate::{Options, addresses, namespaces};
use leftovers::Leftovers;

pub(crate) use leftovers::{MARK, clean, place};

/// Name of the first node.
pub(crate) const FIRST: &str = "node1";

/// Name of the administrator's kubeconfig.
pub(crate) const KUBECONFIG: &str = "admin.kubeconfig";

/// In a network of its own every port is free.
const PORTS: Ports = Ports {
    etcd: 2379,
    etcd_peer: 2380,
    api: addresses::API_PORT,
};

/// Where the API server is called.
pub(crate) fn url() -> String {
    format!("https://{}:{}", addresses::FIRST_NODE, PORTS.api)
}

/// Is told the name of each machine and the process that holds its namespaces.
pub(crate) type Note<'a> = &'a mut dyn FnMut(&str, u32) -> Result<()>;

/// The programs and the image that every cluster needs.
pub(crate) struct Needs {
    pub(crate) plane: Programs,
    pub(crate) node: NodePrograms,
    pub(crate) helm: PathBuf,
    pub(crate) pause: PathBuf,
}

impl Needs {
    /// Finds all, and builds what is not there (see [`Programs::find`] and [`NodePrograms::find`]).
    pub(crate) fn find(progress: Progress<'_>) -> Result<Self> {
        let plane = Programs::find(progress)?;
        let node = NodePrograms::find(progress)?;
        let helm = tool(Tool::Helm, progress)?;
        let folder = folders::cache()?.join("images");
        folders::private_folder(&folder)?;
        let pause = folder.join("pause.tar");
        images::pause(&pause)?;
        Ok(Self {
            plane,
            node,
            helm,
            pause,
        })
    }
}

/// A cluster that runs.
pub(crate) struct Running {
    needs: Needs,
    options: Options,
    life: Life,
    authority: Authority,
    folder: PathBuf,
    // Dropped in this order: servers, their namespaces, and then what is left of both.
    servers: Vec<Server>,
    pub(crate) nodes: Vec<Machine>,
    pub(crate) uplink: Uplink,
    _leftovers: Option<Leftovers>,
}

impl Running {
    /// Starts one that ends with this process, in a folder of its own; what earlier ones have left is removed first.
    pub(crate) fn start(options: Options, progress: Progress<'_>) -> Result<Self> {
        if let Some(reason) = crate::unable() {
            bail!("this machine can have no cluster: {reason}");
        }
        let needs = Needs::find(progress)?;
        let run = RunFolder::create_after(&place()?.join("node"), clean)?;
        let folder = run.path().to_path_buf();
        let leftovers = Leftovers::of(run)?;
        let mut running = Self::start_in(needs, &folder, options, Life::WithThisProcess, &mut |_, _| Ok(()))?;
        running._leftovers = Some(leftovers);
        Ok(running)
    }

    /// Starts one in `folder`; `note` is told the processes that hold namespaces.
    pub(crate) fn start_in(
        needs: Needs,
        folder: &Path,
        options: Options,
        life: Life,
        note: Note<'_>,
    ) -> Result<Self> {
        let authority = credentials::write_all(folder)?;
        let common = Common {
            folder,
            programs: &needs.node,
            authority: &authority,
            kube_proxy: options.kube_proxy,
            life,
        };
        let mut first = Machine::prepare(&common, FIRST, 1)?;
        note(FIRST, first.namespaces.holder())?;
        first
            .namespaces
            .network(&["first_node", &first.address.to_string()])?;
        let uplink = Uplink::start(folder, first.namespaces.init(), life)?;
        note("company", uplink.holder())?;
        let mut servers = control_plane(&first, &needs, folder, life)?;
        first.start_containerd(&needs.pause, life)?;
        wait_for_api(&first, &needs, folder, &mut servers)?;
        servers.extend(after_api(&first, &needs, folder, life)?);
        first.join(&common)?;
        apply(&first, &needs, folder)?;
        let mut running = Self {
            needs,
            options,
            life,
            authority,
            folder: folder.to_path_buf(),
            servers,
            nodes: vec![first],
            uplink,
            _leftovers: None,
        };
        running.wait_for_node(0)?;
        running.wait_for_rest()?;
        Ok(running)
    }

    /// Adds a node, and waits until it is ready.
    pub(crate) fn add_node(&mut self, name: &str) -> Result<&Machine> {
        addresses::check_name(name)?;
        if self.nodes.iter().any(|node| node.name == name) {
            bail!("there is a node {name} already: use another name");
        }
        let number = u8::try_from(self.nodes.len() + 1).unwrap_or(u8::MAX);
        if number > addresses::MOST_NODES {
            bail!(
                "{} nodes is the most: use those that are there",
                addresses::MOST_NODES
            );
        }
        let common = Common {
            folder: &self.folder,
            programs: &self.needs.node,
            authority: &self.authority,
            kube_proxy: self.options.kube_proxy,
            life: self.life,
        };
        let first = self.first()?.namespaces.init();
        let node = start_node(
            &common,
            first,
            &self.needs.pause,
            name,
            number,
            &mut |_, _| Ok(()),
        )?;
        self.nodes.push(node);
        let index = self.nodes.len() - 1;
        if let Err(error) = self.wait_for_node(index) {
            self.nodes.pop();
            return Err(error);
        }
        self.nodes.last().context("the node is gone")
    }

    pub(crate) fn first(&self) -> Result<&Machine> {
        self.nodes.first().context("a cluster without a node")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of helm and those of the other programs, for a `PATH`.
    pub(crate) fn program_folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.needs.helm.as_path().parent().unwrap_or(Path::new("/"))];
        folders.extend(self.needs.plane.folders());
        folders.into_iter().map(Path::to_path_buf).collect()
    }

    pub(crate) fn helm(&self) -> &Path {
        &self.needs.helm
    }

    fn wait_for_node(&mut self, index: usize) -> Result<()> {
        let node = self.nodes.get_mut(index).context("a node that is not there")?;
        let init = node.namespaces.init();
        let first = self.nodes.first().map_or(init, |first| first.namespaces.init());
        let node = self.nodes.get_mut(index).context("a node that is not there")?;
        wait_for_node(node, first, &self.needs.plane, &self.folder)
    }

    /// The default service account, without which no pod is accepted, and the name server.
    fn wait_for_rest(&mut self) -> Result<()> {
        let init = self.first()?.namespaces.init();
        let (plane, folder) = (self.needs.plane.clone(), self.folder.clone());
        let manager = server(&mut self.servers, "kube-controller-manager")?;
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        manager.wait_until(|| ask(&plane, init, &folder, &["get", "--raw", account], "").map(drop))?;
        let dns = server(&mut self.servers, "coredns")?;
        dns.wait_until(|| listens(init, "udp", 53))
    }
}

fn server<'a>(servers: &'a mut [Server], name: &str) -> Result<&'a mut Server> {
    servers
        .iter_mut()
        .find(|server| server.name() == name)
        .with_context(|| format!("{name} was not started"))
}

/// The database and the API server; they get ready while containerd is started.
fn control_plane(first: &Machine, needs: &Needs, folder: &Path, life: Life) -> Result<Vec<Server>> {
    let init = first.namespaces.init();
    let etcd = flags::etcd(PORTS, folder);
    let mut etcd = first.start("etcd", &needs.plane.etcd, &etcd, folder, life)?;
    // An API server that finds no database waits seconds before it looks again.
    etcd.wait_until(|| listens(init, "tcp", PORTS.etcd))?;
    let reach = Reach::Nodes(addresses::FIRST_NODE.into());
    let api = flags::apiserver(PORTS, reach, folder);
    let api = first.start("kube-apiserver", &needs.plane.apiserver, &api, folder, life)?;
    Ok(vec![etcd, api])
}

fn wait_for_api(first: &Machine, needs: &Needs, folder: &Path, servers: &mut [Server]) -> Result<()> {
    let init = first.namespaces.init();
    server(servers, "kube-apiserver")?.wait_until(|| {
        listens(init, "tcp", PORTS.api)?;
        let answer = ask(&needs.plane, init, folder, &["get", "--raw", "/readyz"], "")?;
        if answer.trim() != "ok" {
            bail!("/readyz says {answer}");
        }
        Ok(())
    })
}

fn after_api(first: &Machine, needs: &Needs, folder: &Path, life: Life) -> Result<Vec<Server>> {
    let corefile = folder.join("Corefile");
    write(
        &corefile,
        &crate::files::name_server(folder, addresses::FIRST_NODE),
    )?;
    let (manager, scheduler) = (flags::controller_manager(folder), flags::scheduler(folder));
    let dns = vec!["-conf".to_owned(), corefile.display().to_string()];
    [
        (
            "kube-controller-manager",
            &needs.plane.controller_manager,
            manager,
        ),
        ("kube-scheduler", &needs.node.scheduler, scheduler),
        ("coredns", &needs.node.coredns, dns),
    ]
    .into_iter()
    .map(|(name, program, arguments)| first.start(name, program, &arguments, folder, life))
    .collect()
}

fn apply(first: &Machine, needs: &Needs, folder: &Path) -> Result<()> {
    let manifests = crate::files::manifests(addresses::FIRST_NODE);
    let arguments = ["apply", "--server-side", "-f", "-"];
    ask(
        &needs.plane,
        first.namespaces.init(),
        folder,
        &arguments,
        &manifests,
    )
    .map(drop)
}

/// Starts a node and links it to the first, a process of which is `first`; `note` as for [`Running::start_in`].
pub(crate) fn start_node(
    common: &Common<'_>,
    first: u32,
    pause: &Path,
    name: &str,
    number: u8,
    note: Note<'_>,
) -> Result<Machine> {
    let mut node = Machine::prepare(common, name, number)?;
    note(name, node.namespaces.holder())?;
    let (address, pods) = (node.address.to_string(), addresses::pods(number));
    node.namespaces
        .network(&["further_node", name, &first.to_string(), &address])?;
    namespaces::network(first, &["link_node", name, &address, &pods])?;
    node.start_containerd(pause, common.life)?;
    node.join(common)?;
    Ok(node)
}

/// Waits until a node is ready, as long as its servers run.
pub(crate) fn wait_for_node(node: &mut Machine, first: u32, plane: &Programs, folder: &Path) -> Result<()> {
    const READY: &str = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    let start = crate::Clock::now();
    loop {
        node.check()?;
        let answer = ask(
            plane,
            first,
            folder,
            &["get", "node", &node.name, "-o", READY],
            "",
        );
        match answer {
            Ok(text) if text.trim() == "True" => return Ok(()),
            _ if start.elapsed().as_secs() < 180 => crate::pause(std::time::Duration::from_millis(100)),
            answer => bail!(
                "{} is not ready after 180 s ({answer:?}):\n{}",
                node.name,
                landbridge_control_plane::tail(&node.folder.join("kubelet.log"))
            ),
        }
    }
}

fn listens(init: u32, protocol: &str, port: u16) -> Result<()> {
    if !namespaces::bound(init, protocol, port)? {
        bail!("nothing listens at its port {port}");
    }
    Ok(())
}

/// `kubectl` as a user who may do everything, in the network of a node.
pub(crate) fn ask(
    plane: &Programs,
    init: u32,
    folder: &Path,
    arguments: &[&str],
    input: &str,
) -> Result<String> {
    let mut command = namespaces::command(&namespaces::network_words(init), &plane.kubectl);
    let mut child = command
        .arg("--kubeconfig")
        .arg(folder.join(KUBECONFIG))
        .arg("--cache-dir")
        .arg(folder.join("kubectl-cache"))
        .arg("--request-timeout=10s")
        .args(arguments)
        .env_remove("KUBECONFIG")
        .env("KUBERC", "off")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start kubectl")?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that needs no input may have ended already.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().context("wait for kubectl")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
