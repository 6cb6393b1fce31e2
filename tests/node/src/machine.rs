//! One node: containerd, kubelet and kube-proxy in namespaces of their own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use landbridge_control_plane::credentials::{self, Authority};
use landbridge_control_plane::{Life, NodePrograms, Server, folders};

use crate::files::{self, Place};
use crate::namespaces::{self, Namespaces};
use crate::{KubeProxy, addresses, requirements};

/// Where the kernel shows cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What all nodes of a cluster have in common.
pub(crate) struct Common<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) programs: &'a NodePrograms,
    pub(crate) authority: &'a Authority,
    pub(crate) kube_proxy: KubeProxy,
    pub(crate) life: Life,
}

/// A node. Its namespaces end when dropped, unless they are to stay.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) folder: PathBuf,
    pub(crate) namespaces: Namespaces,
    servers: Vec<Server>,
}

impl Machine {
    /// Namespaces, folder, files and cgroups of a node; nothing runs in it yet.
    pub(crate) fn prepare(common: &Common<'_>, name: &str, number: u8) -> Result<Self> {
        let (address, pods) = (addresses::node(number), addresses::pods(number));
        let folder = common.folder.join(name);
        folders::private_folder(&folder)?;
        let cgroup = format!("{}/{name}", cgroup(common.folder)?);
        make_cgroups(&cgroup)?;
        let place = Place {
            cluster: common.folder,
            node: &folder,
            name,
            pods: &pods,
            cgroup: &cgroup,
            plugins: requirements::plugins()
                .context("no network plugins: apt-get install containernetworking-plugins")?,
        };
        write_files(place, common, address)?;
        let namespaces = Namespaces::node(&folder, common.life)?;
        Ok(Self {
            name: name.to_owned(),
            address,
            folder,
            namespaces,
            servers: Vec::new(),
        })
    }

    /// Starts a server in the namespaces.
    pub(crate) fn start(
        &self,
        name: &'static str,
        program: &Path,
        arguments: &[String],
        log: &Path,
        life: Life,
    ) -> Result<Server> {
        let mut words = namespaces::all_words(self.namespaces.init());
        let first = words.remove(0);
        words.push(program.display().to_string());
        words.extend_from_slice(arguments);
        Server::start(name, Path::new(&first), &words, log, life)
    }

    /// containerd; ready when the image that every pod needs is in it.
    pub(crate) fn start_containerd(&mut self, pause: &Path, life: Life) -> Result<()> {
        let config = self.folder.join("containerd.toml");
        let arguments = ["--config".to_owned(), config.display().to_string()];
        let mut server = self.start(
            "containerd",
            Path::new("containerd"),
            &arguments,
            &self.folder,
            life,
        )?;
        let ready = server.wait_until(|| self.import(pause));
        self.servers.push(server);
        ready
    }

    /// kubelet and kube-proxy, which need the API server.
    pub(crate) fn join(&mut self, common: &Common<'_>) -> Result<()> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let kubelet = vec![
            format!("--config={}", file("kubelet.json")),
            format!("--kubeconfig={}", file("kubelet.kubeconfig")),
            format!("--root-dir={}", file("kubelet")),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={}", self.address),
        ];
        let kube_proxy = vec![format!("--config={}", file("kube-proxy.json"))];
        let programs = common.programs;
        for (name, program, arguments) in [
            ("kubelet", &programs.kubelet, kubelet),
            ("kube-proxy", &programs.kube_proxy, kube_proxy),
        ] {
            let server = self.start(name, program, &arguments, &self.folder, common.life)?;
            self.servers.push(server);
        }
        Ok(())
    }

    /// Fails with the log of a server that has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        for server in &mut self.servers {
            server.wait_until(|| Ok(()))?;
        }
        Ok(())
    }

    /// Puts the images of an archive where pods find them.
    pub(crate) fn import(&self, archive: &Path) -> Result<()> {
        import(&self.folder, self.namespaces.init(), archive)
    }
}

/// Puts the images of an archive into the containerd of a node.
pub(crate) fn import(node: &Path, init: u32, archive: &Path) -> Result<()> {
    let output = import_command(node, init, archive)
        .output()
        .context("start ctr")?;
    if !output.status.success() {
        bail!(
            "{} cannot be imported: {}",
            archive.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn import_command(node: &Path, init: u32, archive: &Path) -> Command {
    let mut command = namespaces::command(&namespaces::all_words(init), "ctr");
    command
        .arg("--address")
        .arg(files::socket(node))
        .args([
            "--namespace",
            "k8s.io",
            "--connect-timeout",
            "5s",
            "--timeout",
            "120s",
            "images",
            "import",
        ])
        .arg(archive);
    command
}

fn write_files(place: Place<'_>, common: &Common<'_>, address: Ipv4Addr) -> Result<()> {
    let user = format!("system:node:{}", place.name);
    let client = common.authority.client(&user, Some("system:nodes"))?;
    let serving = common.authority.serving(&[place.name, &address.to_string()])?;
    let kubeconfig = credentials::kubeconfig(
        &crate::running::url(),
        &common.authority.certificate,
        credentials::certificate_user(&client),
    );
    for folder in ["cni", "logs"] {
        folders::private_folder(&place.node.join(folder))?;
    }
    for (name, text) in [
        ("kubelet.crt", serving.certificate),
        ("kubelet.key", serving.key),
        ("kubelet.kubeconfig", kubeconfig),
        ("kubelet.json", files::kubelet(place)),
        ("kube-proxy.json", files::kube_proxy(place, common.kube_proxy)),
        ("containerd.toml", files::containerd(place)),
        ("cni/10-pods.conflist", files::network(place)),
        // Pods that ask the node's name server ask nobody.
        ("resolv.conf", String::new()),
    ] {
        write(&place.node.join(name), &text)?;
    }
    Ok(())
}

/// Writes a file, and names it when that fails.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Name of the cgroup of a cluster, from the name of its folder.
pub(crate) fn cgroup(folder: &Path) -> Result<String> {
    let name = folder.file_name().context("a folder without a name")?;
    Ok(format!("lbnode-{}", name.to_string_lossy()))
}

/// Makes a cgroup in every hierarchy, as a manager of cgroups would; the kubelet does not.
fn make_cgroups(name: &str) -> Result<()> {
    let root = Path::new(CGROUPS);
    if root.join("cgroup.controllers").is_file() {
        return make_unified_cgroups(root, name);
    }
    let entries = std::fs::read_dir(root).with_context(|| format!("list {CGROUPS}"))?;
    for entry in entries {
        let hierarchy = entry.with_context(|| format!("list {CGROUPS}"))?.path();
        if !hierarchy.join("cgroup.procs").is_file() {
            continue;
        }
        let mut path = hierarchy;
        for part in Path::new(name) {
            let above = path.clone();
            path.push(part);
            make_folder(&path)?;
            // A new set has no processors and no memory, and takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if path.join(file).is_file() && above.join(file).is_file() {
                    let value =
                        std::fs::read_to_string(above.join(file)).with_context(|| format!("read {file}"))?;
                    write(&path.join(file), &value)?;
                }
            }
        }
    }
    Ok(())
}

/// The second version: a group has the controllers that the one above passes on.
fn make_unified_cgroups(root: &Path, name: &str) -> Result<()> {
    let mut path = root.to_path_buf();
    for part in Path::new(name) {
        std::fs::write(path.join("cgroup.subtree_control"), "+cpu +cpuset +memory +pids").with_context(
            || {
                format!(
                    "pass controllers on from {}: no process may be in it, unless it is the machine's root",
                    path.display()
                )
            },
        )?;
        path.push(part);
        make_folder(&path)?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("create the cgroup {}", path.display()))
}
