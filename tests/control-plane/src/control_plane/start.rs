//! Bringing the servers up, in order, on ports that nobody uses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;

use super::{ControlPlane, Life};
use crate::credentials::{self, Authority};
use crate::flags::{self, Ports, Reach};
use crate::free_port;
use crate::programs::Programs;
use crate::server::Server;

/// Name of the administrator's kubeconfig.
pub(crate) const KUBECONFIG: &str = "admin.kubeconfig";

/// How often ports are chosen anew when somebody else was faster.
const ATTEMPTS: usize = 4;

/// Starts everything in `folder`.
pub(super) fn start(programs: Programs, folder: &Path, life: Life) -> Result<ControlPlane> {
    let authority = write_credentials(folder)?;
    let mut attempt = 1;
    let (ports, etcd, apiserver) = loop {
        let ports = Ports {
            etcd: free_port()?,
            etcd_peer: free_port()?,
            api: free_port()?,
        };
        write_kubeconfigs(folder, ports, &authority)?;
        match storage_and_api(&programs, ports, folder, life) {
            Ok((etcd, apiserver)) => break (ports, etcd, apiserver),
            Err(error) if attempt < ATTEMPTS && port_was_taken(&error) => attempt += 1,
            Err(error) => return Err(error),
        }
    };
    let controller_manager = controller_manager(&programs, folder, life)?;
    Ok(ControlPlane {
        programs,
        folder: folder.to_path_buf(),
        ports,
        life,
        authority,
        controller_manager: Some(controller_manager),
        apiserver: Mutex::new(Some(apiserver)),
        etcd,
        _run: None,
        _cleaner: None,
    })
}

fn storage_and_api(programs: &Programs, ports: Ports, folder: &Path, life: Life) -> Result<(Server, Server)> {
    for stale in ["etcd", "etcd.log", "kube-apiserver.log"] {
        let path = folder.join(stale);
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
    let mut etcd = Server::start("etcd", &programs.etcd, &flags::etcd(ports, folder), folder, life)?;
    let ready = remember(folder, &etcd, life).and_then(|()| etcd.wait_until(|| etcd_is_healthy(ports.etcd)));
    let started = ready.and_then(|()| apiserver(programs, ports, folder, life));
    match started {
        Ok(apiserver) => Ok((etcd, apiserver)),
        Err(error) => {
            etcd.kill();
            Err(error)
        }
    }
}

/// Starts the API server and waits until it is ready.
pub(super) fn apiserver(programs: &Programs, ports: Ports, folder: &Path, life: Life) -> Result<Server> {
    let arguments = flags::apiserver(ports, Reach::Loopback, folder);
    let server = Server::start("kube-apiserver", &programs.apiserver, &arguments, folder, life)?;
    // The answer of our own: the certificate it shows must be of our authority.
    ready_or_killed(server, folder, life, || {
        let answer = ask(programs, folder, &["get", "--raw", "/readyz"])?;
        if answer.trim() != "ok" {
            bail!("/readyz says {answer}");
        }
        Ok(())
    })
}

fn controller_manager(programs: &Programs, folder: &Path, life: Life) -> Result<Server> {
    let (program, arguments) = (&programs.controller_manager, flags::controller_manager(folder));
    let server = Server::start("kube-controller-manager", program, &arguments, folder, life)?;
    ready_or_killed(server, folder, life, || {
        let path = "/api/v1/namespaces/default/serviceaccounts/default";
        ask(programs, folder, &["get", "--raw", path]).map(drop)
    })
}

fn ready_or_killed(
    mut server: Server,
    folder: &Path,
    life: Life,
    ready: impl FnMut() -> Result<()>,
) -> Result<Server> {
    match remember(folder, &server, life).and_then(|()| server.wait_until(ready)) {
        Ok(()) => Ok(server),
        Err(error) => {
            server.kill();
            Err(error)
        }
    }
}

/// Processes that stay are noted at once, so that a start that is interrupted can be cleaned up.
fn remember(folder: &Path, server: &Server, life: Life) -> Result<()> {
    match life {
        Life::WithThisProcess => Ok(()),
        Life::UntilStopped => crate::standing::remember(folder, server.id()),
    }
}

fn port_was_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}

pub(super) fn url(ports: Ports) -> String {
    format!("https://127.0.0.1:{}", ports.api)
}

/// `kubectl` without the settings and the cache of the person at the keyboard: another server may have had this port.
pub(super) fn kubectl(programs: &Programs, folder: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(&programs.kubectl);
    command
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--cache-dir")
        .arg(folder.join("kubectl-cache"))
        .env_remove("KUBECONFIG")
        .env("KUBERC", "off")
        .stdin(Stdio::null());
    command
}

fn ask(programs: &Programs, folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = kubectl(programs, folder, &folder.join(KUBECONFIG))
        .arg("--request-timeout=5s")
        .args(arguments)
        .output()
        .context("start kubectl")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn etcd_is_healthy(port: u16) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    if !answer.contains("\"health\":\"true\"") {
        bail!("its /health says {answer}");
    }
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn write_credentials(folder: &Path) -> Result<Authority> {
    let authority = Authority::new("landbridge-test-cluster")?;
    let front = Authority::new("landbridge-test-front-proxy")?;
    let names = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default.svc",
        flags::SERVICE_ADDRESS,
    ];
    let apiserver = authority.serving(&names)?;
    let front_client = front.client("front-proxy-client", None)?;
    let (token_key, token_public) = credentials::token_keys()?;
    for (name, text) in [
        ("ca.crt", &authority.certificate),
        ("ca.key", &authority.key),
        ("front-proxy-ca.crt", &front.certificate),
        ("front-proxy-client.crt", &front_client.certificate),
        ("front-proxy-client.key", &front_client.key),
        ("apiserver.crt", &apiserver.certificate),
        ("apiserver.key", &apiserver.key),
        ("sa.key", &token_key),
        ("sa.pub", &token_public),
    ] {
        write(folder, name, text)?;
    }
    write(folder, "audit-policy.yaml", flags::AUDIT_POLICY)?;
    Ok(authority)
}

fn write_kubeconfigs(folder: &Path, ports: Ports, authority: &Authority) -> Result<()> {
    for (file, user, group) in [
        (KUBECONFIG, "landbridge-test-admin", Some("system:masters")),
        (
            "controller-manager.kubeconfig",
            "system:kube-controller-manager",
            None,
        ),
    ] {
        let user = credentials::certificate_user(&authority.client(user, group)?);
        write(
            folder,
            file,
            &credentials::kubeconfig(&url(ports), &authority.certificate, user),
        )?;
    }
    Ok(())
}
