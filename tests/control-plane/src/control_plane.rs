//! Starting, stopping and calling one control plane.

mod start;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;

use crate::credentials::{self, Authority};
use crate::flags::{self, Ports};
use crate::folders::RunFolder;
use crate::programs::Programs;
use crate::server::Server;
use crate::{Progress, folders};

/// How long a control plane runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Its processes end with this one, however it ends, and its folder is removed.
    WithThisProcess,
    /// Until somebody stops it.
    UntilStopped,
}

/// A running control plane.
pub struct ControlPlane {
    programs: Programs,
    folder: PathBuf,
    ports: Ports,
    life: Life,
    authority: Authority,
    // Dropped in this order: a database that goes first leaves the others waiting for it.
    controller_manager: Option<Server>,
    apiserver: Mutex<Option<Server>>,
    etcd: Server,
    // Last: the processes above write into it.
    _run: Option<RunFolder>,
    _cleaner: Option<Child>,
}

impl ControlPlane {
    /// Starts one that ends with this process, in a folder of its own.
    ///
    /// # Errors
    /// As for [`Programs::find`], and when a server does not get ready; then with the end of its log.
    pub fn start(progress: Progress<'_>) -> Result<Self> {
        let programs = Programs::find(progress)?;
        let run = RunFolder::create(&folders::cache()?.join("run"))?;
        let cleaner = cleaner(run.path())?;
        let mut started = start::start(programs, run.path(), Life::WithThisProcess)?;
        started._run = Some(run);
        started._cleaner = Some(cleaner);
        Ok(started)
    }

    /// Starts one in `folder` that stays until its processes are killed.
    pub(crate) fn start_in(folder: &Path, progress: Progress<'_>) -> Result<Self> {
        start::start(Programs::find(progress)?, folder, Life::UntilStopped)
    }

    /// Where the API server is called.
    pub fn url(&self) -> String {
        start::url(self.ports)
    }

    /// The authority of the API server's certificate and of client certificates, PEM.
    pub fn authority(&self) -> &str {
        &self.authority.certificate
    }

    /// Kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join(start::KUBECONFIG)
    }

    /// The programs it runs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Folder with logs and keys.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One JSON object per answered request (`audit.k8s.io/v1` Event, level Metadata), written about when it is answered.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join(flags::AUDIT_LOG)
    }

    /// `kubectl` with the user of `kubeconfig`, without the settings of the person at the keyboard.
    pub fn kubectl(&self, kubeconfig: &Path) -> Command {
        start::kubectl(&self.programs, &self.folder, kubeconfig)
    }

    /// Kubeconfig of a user with a client certificate. One group at most, as the certificate is made here.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn user(&self, name: &str, group: Option<&str>) -> Result<PathBuf> {
        let identity = self.authority.client(name, group)?;
        self.write_user(name, credentials::certificate_user(&identity))
    }

    /// Kubeconfig of a user with a bearer token, such as that of a service account; `name` is for the file alone.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn token_user(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.write_user(name, credentials::token_user(token))
    }

    fn write_user(&self, name: &str, user: serde_json::Value) -> Result<PathBuf> {
        let folder = self.folder.join("users");
        folders::private_folder(&folder)?;
        let path = folder.join(format!("{}.kubeconfig", name.replace('/', "_")));
        let text = credentials::kubeconfig(&self.url(), self.authority(), user);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Takes the API server away, at once and without a goodbye; does nothing when it is away already.
    pub fn stop_apiserver(&self) {
        if let Some(mut server) = self.apiserver.lock().take() {
            server.kill();
        }
    }

    /// Brings it back on the same port with everything it knew, and waits until it is ready.
    ///
    /// # Errors
    /// When it runs already, or does not get ready.
    pub fn start_apiserver(&self) -> Result<()> {
        let mut apiserver = self.apiserver.lock();
        if apiserver.is_some() {
            bail!("the API server runs already: stop it first");
        }
        *apiserver = Some(start::apiserver(
            &self.programs,
            self.ports,
            &self.folder,
            self.life,
        )?);
        Ok(())
    }

    /// Name and process id of each process that runs, in the order in which they are to be stopped.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        let mut all = Vec::new();
        all.extend(
            self.controller_manager
                .as_ref()
                .map(|server| ("kube-controller-manager", server.id())),
        );
        all.extend(
            self.apiserver
                .lock()
                .as_ref()
                .map(|server| ("kube-apiserver", server.id())),
        );
        all.push(("etcd", self.etcd.id()));
        all
    }
}

/// A process that removes the folder when this one has ended: test programs run nothing at their end.
fn cleaner(folder: &Path) -> Result<Child> {
    const SCRIPT: &str = "cat >/dev/null; for try in 1 2 3 4 5; do rm -rf -- \"$1\" && exit 0; sleep 1; done";
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(folder)
        // Its end of the pipe is closed when this process is gone; nothing is ever written.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command.spawn().context("start sh")
}
