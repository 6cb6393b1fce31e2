//! The cluster as a test sees it.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use landbridge_control_plane::Ended;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::running::{self, Running};
use crate::{Company, Options, addresses, machine, namespaces};

/// How long a client may take: `kubectl wait` and `helm install --wait` have deadlines of their own below this.
const PATIENCE: Duration = Duration::from_secs(600);

/// Variables of every program that is started into a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: Vec<(String, String)>,
    mark: (String, String),
}

impl Environment {
    /// So that the program is found when its test is gone.
    pub(crate) fn mark(&self, command: &mut Command) {
        let (name, value) = &self.mark;
        command.env(name, value);
        // Settings of the person at the keyboard, for the product.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LANDBRIDGE_") {
                command.env_remove(name);
            }
        }
    }

    fn all(&self) -> Vec<(String, String)> {
        let mut all = self.variables.clone();
        all.push(self.mark.clone());
        all
    }
}

/// A running cluster. Copies are the same cluster; it ends when the last one is dropped, when it is stopped, and with
/// this process, however that ends.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    // Taken when it is stopped.
    running: Mutex<Option<Running>>,
    folder: PathBuf,
    init: u32,
    environment: Environment,
    company: Company,
    helm: PathBuf,
}

impl Cluster {
    /// Starts one: 0.8 GiB, 6 s on an idle machine once its programs are built.
    ///
    /// # Errors
    /// When [`unable`](crate::unable) gives a reason, when something cannot be built, and when a server does not get
    /// ready; then with the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        let running = spawn_blocking(move || Running::start(options, &mut tell)).await??;
        Self::of(running)
    }

    /// The one of this test process, started by whoever comes first; ends with the process.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn shared() -> Result<Self> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| Self::start(Options::default()))
            .await
            .cloned()
    }

    fn of(running: Running) -> Result<Self> {
        let folder = running.folder().to_path_buf();
        let environment = environment(&folder, running.program_folders())?;
        let init = running.first()?.namespaces.init();
        let helm = running.helm().to_path_buf();
        let company = Company {
            words: running.uplink.words(),
            environment: environment.clone(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                running: Mutex::new(Some(running)),
                folder,
                init,
                environment,
                company,
                helm,
            }),
        })
    }

    /// A program in the network of the first node: it reaches the API server, nodes, pods and Services (by address).
    /// `KUBECONFIG` is of a user who may do everything, kubectl is in `PATH`, `LANDBRIDGE_*` is not passed on.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::from(namespaces::command(&self.enter(), program));
        self.inner.environment.mark(&mut command);
        command.envs(self.environment());
        command
    }

    /// The words before a program that is to run there; with [`Self::environment`] what [`Self::command`] does.
    pub fn enter(&self) -> Vec<String> {
        namespaces::network_words(self.inner.init)
    }

    /// Variables for such a program.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.inner.environment.all()
    }

    /// `kubectl ARGUMENTS` as a user who may do everything.
    pub async fn kubectl(&self, arguments: &[&str]) -> Ended {
        self.kubectl_with(arguments, "").await
    }

    /// The same, with `input` on standard input (`apply -f -`).
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command("kubectl");
        command.args(arguments);
        run(command, format!("kubectl {}", arguments.join(" ")), input).await
    }

    /// `helm ARGUMENTS` in a working directory, as the same user.
    pub async fn helm(&self, folder: &Path, arguments: &[&str]) -> Ended {
        let said = format!("helm {}", arguments.join(" "));
        let mut command = self.command(&self.inner.helm);
        for (variable, name) in [
            ("HELM_CACHE_HOME", "helm-cache"),
            ("HELM_CONFIG_HOME", "helm-config"),
            ("HELM_DATA_HOME", "helm-data"),
        ] {
            command.env(variable, self.folder().join(name));
        }
        command.current_dir(folder).args(arguments);
        run(command, said, "").await
    }

    /// Puts the images of an archive (docker-archive or OCI layout) where pods of the first node find them.
    ///
    /// # Errors
    /// When it is no such archive.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        import(self.folder().join(running::FIRST), self.inner.init, archive).await
    }

    /// Adds a node in a network of its own, linked to the first, and waits until it is ready.
    ///
    /// # Errors
    /// When the name cannot be that of a node, or is taken; when a server does not get ready.
    pub async fn add_node(&self, name: &str) -> Result<Node> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        let add = move || {
            let mut running = inner.running.lock();
            let running = running.as_mut().context("the cluster was stopped")?;
            let node = running.add_node(&name)?;
            Ok::<_, anyhow::Error>((name, node.folder.clone(), node.namespaces.init(), node.address))
        };
        let (name, folder, init, address) = spawn_blocking(add).await??;
        Ok(Node {
            cluster: self.clone(),
            name,
            folder,
            init,
            address: address.into(),
        })
    }

    /// The company that is linked to the first node.
    pub fn company(&self) -> &Company {
        &self.inner.company
    }

    /// Address of the first node.
    pub fn node_address(&self) -> IpAddr {
        addresses::FIRST_NODE.into()
    }

    /// Kubeconfig of a user who may do everything; of use in the network of the cluster only.
    pub fn kubeconfig(&self) -> PathBuf {
        self.inner.folder.join(running::KUBECONFIG)
    }

    /// Where the API server is called, from within the network of the cluster.
    pub fn url(&self) -> String {
        running::url()
    }

    /// The cluster's folder: keys, logs, and whatever a test wants to have removed with the cluster.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Where the logs of the servers are.
    pub fn logs_folder(&self) -> &Path {
        self.folder()
    }

    /// What is known about pods, for the message of a failure: their state, their events, the end of their logs.
    pub async fn pods_log(&self, namespace: &str, selector: &str) -> String {
        let of = ["-n", namespace, "-l", selector];
        let mut text = String::new();
        for words in [
            &["get", "pods", "-o", "wide"][..],
            &[
                "logs",
                "--all-containers",
                "--prefix",
                "--tail=60",
                "--ignore-errors",
            ],
            &["describe", "pods"],
        ] {
            let ended = self.kubectl(&[words, &of].concat()).await;
            text.push_str(&ended.stdout);
            text.push_str(&ended.stderr);
        }
        text
    }

    /// Stops it and removes everything it had; does nothing when that was done.
    pub async fn stop(&self) {
        let inner = self.inner.clone();
        let stop = move || drop(inner.running.lock().take());
        // It does not panic; if it did, there would be nothing better to do than to go on.
        let _ = spawn_blocking(stop).await;
    }
}

/// A node that was added.
pub struct Node {
    cluster: Cluster,
    name: String,
    folder: PathBuf,
    init: u32,
    address: IpAddr,
}

impl Node {
    /// Its name, as Kubernetes has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Puts the images of an archive where its pods find them.
    ///
    /// # Errors
    /// As for [`Cluster::import`].
    pub async fn import(&self, archive: &Path) -> Result<()> {
        import(self.folder.clone(), self.init, archive).await
    }

    /// Cuts its link: it runs on, and nobody reaches it.
    ///
    /// # Errors
    /// When the cluster is gone.
    pub async fn cut(&self) -> Result<()> {
        self.link("down").await
    }

    /// Brings the link back.
    ///
    /// # Errors
    /// When the cluster is gone.
    pub async fn restore(&self) -> Result<()> {
        self.link("up").await
    }

    async fn link(&self, state: &str) -> Result<()> {
        let mut command = self.cluster.command("ip");
        command.args(["link", "set", &self.name, state]);
        let ended = run(command, format!("ip link set {} {state}", self.name), "").await;
        match ended.code {
            Some(0) => Ok(()),
            _ => Err(anyhow!(
                "the link of {} cannot be set {state}: {}",
                self.name,
                ended.stderr
            )),
        }
    }
}

async fn import(node: PathBuf, init: u32, archive: &Path) -> Result<()> {
    let archive = archive.to_path_buf();
    spawn_blocking(move || machine::import(&node, init, &archive)).await?
}

/// Straight to the terminal: a build of minutes must not look like a test that hangs.
fn tell(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "cluster: {line}");
}

fn environment(folder: &Path, mut path: Vec<PathBuf>) -> Result<Environment> {
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let path = std::env::join_paths(path).context("name the folders of the programs")?;
    let text = |path: &OsStr| path.to_string_lossy().into_owned();
    Ok(Environment {
        variables: vec![
            (
                "KUBECONFIG".into(),
                text(folder.join(running::KUBECONFIG).as_os_str()),
            ),
            (
                "KUBECACHEDIR".into(),
                text(folder.join("kubectl-cache").as_os_str()),
            ),
            ("KUBERC".into(), "off".into()),
            ("PATH".into(), text(&path)),
        ],
        mark: (running::MARK.into(), text(folder.as_os_str())),
    })
}

async fn run(mut command: Command, said: String, input: &str) -> Ended {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ended::without(said, format!("cannot be started: {error}")),
    };
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // One that needs no input may have ended already.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    match timeout(PATIENCE, work).await {
        Ok(Ok(output)) => Ended::new(said, &output),
        Ok(Err(error)) => Ended::without(said, format!("its output cannot be read: {error}")),
        Err(_) => Ended::without(said, format!("does not end within {} s", PATIENCE.as_secs())),
    }
}
