//! Tools that the steps need and that rustup does not bring.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{self, say};

/// A cargo subcommand, pinned: a newer one may know other rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CargoTool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

/// Checks licences, banned crates and sources of the dependency graph.
pub(crate) const CARGO_DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// A program of the distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SystemTool {
    /// What is called; with its folder where that is not on the `PATH`.
    pub(crate) command: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
    /// Who calls it.
    pub(crate) needed_by: &'static str,
}

/// Without these nothing compiles (the cryptography and the allocator are C).
pub(crate) const BUILD: &[SystemTool] = &[
    SystemTool {
        command: "cc",
        package: "gcc",
        needed_by: "build: cryptography, SQLite, linking",
    },
    SystemTool {
        command: "make",
        package: "make",
        needed_by: "build: jemalloc",
    },
];

/// What an image is made with, and what the tests of its contents need.
pub(crate) const IMAGE: &[SystemTool] = &[
    SystemTool {
        command: "strip",
        package: "binutils",
        needed_by: "image: programs without debugging symbols",
    },
    SystemTool {
        command: "ldd",
        package: "libc-bin",
        needed_by: "image: the libraries of a program",
    },
    SystemTool {
        command: "/usr/sbin/update-ca-certificates",
        package: "ca-certificates",
        needed_by: "image: the public authorities",
    },
    SystemTool {
        command: "unshare",
        package: "util-linux",
        needed_by: "image: running the unpacked image",
    },
];

/// The end-to-end suites call these as the foreign side of a connection.
pub(crate) const SUITES: &[SystemTool] = &[
    SystemTool {
        command: "curl",
        package: "curl",
        needed_by: "e2e: an independent HTTP client",
    },
    SystemTool {
        command: "openssl",
        package: "openssl",
        needed_by: "e2e: an independent TLS peer",
    },
];

/// The suites in network namespaces.
pub(crate) const NETNS: &[SystemTool] = &[
    SystemTool {
        command: "ip",
        package: "iproute2",
        needed_by: "netns: cables and addresses",
    },
    SystemTool {
        command: "nft",
        package: "nftables",
        needed_by: "netns: rules of Services, and what the kernel says of ours",
    },
    SystemTool {
        command: "nsenter",
        package: "util-linux",
        needed_by: "netns: programs in a namespace",
    },
];

/// The store's tests on PostgreSQL. The programs of the server are not on the `PATH`; the one that makes clusters comes
/// with them.
pub(crate) const POSTGRES: &[SystemTool] = &[
    postgres("pg_createcluster", "postgresql"),
    postgres("psql", "postgresql-client"),
    postgres("setpriv", "util-linux"),
    postgres("ps", "procps"),
];

const fn postgres(command: &'static str, package: &'static str) -> SystemTool {
    SystemTool {
        command,
        package,
        needed_by: "store: a real PostgreSQL",
    }
}

/// The suites on a real API server.
pub(crate) const CLUSTER: &[SystemTool] = &[SystemTool {
    command: "setpriv",
    package: "util-linux",
    needed_by: "operator: servers that end with their test",
}];

/// What a node of the suites runs beside the programs that are built for it; PostgreSQL and OpenLDAP are what its company
/// network has.
pub(crate) const NODE: &[SystemTool] = &[
    node("containerd", "containerd"),
    node("runc", "runc"),
    node("/usr/lib/cni/ptp", "containernetworking-plugins"),
    node("iptables", "iptables"),
    node("nft", "nftables"),
    node("conntrack", "conntrack"),
    node("ip", "iproute2"),
    node("nsenter", "util-linux"),
    node("mount", "mount"),
    node("psql", "postgresql-client"),
    node("pg_createcluster", "postgresql"),
    node("/usr/sbin/slapd", "slapd"),
    node("openssl", "openssl"),
];

const fn node(command: &'static str, package: &'static str) -> SystemTool {
    SystemTool {
        command,
        package,
        needed_by: "cluster: real nodes",
    }
}

/// Builds the API server of the suites. Only named, since few distributions have one that is new enough.
const GO: &str = "go";

impl CargoTool {
    /// The binary, installed first when it is not in the user's cache folder yet.
    ///
    /// The folder carries the version, so that two checkouts with different pins do not fight over it.
    pub(crate) fn ensure(self) -> Result<PathBuf> {
        let folder = cache()?.join(format!("{}-{}", self.name, self.version));
        let binary = folder.join("bin").join(self.name);
        if binary.is_file() {
            return Ok(binary);
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        say(&format!(
            "installing {} {} once, into {}",
            self.name,
            self.version,
            folder.display()
        ));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut install = Command::new(cargo);
        install
            .current_dir(&folder)
            .args([
                "install",
                "--quiet",
                "--locked",
                "--version",
                self.version,
                "--root",
            ])
            .arg(&folder)
            .arg(self.name);
        if !process::run(&format!("install {}", self.name), &mut install)?.success || !binary.is_file() {
            bail!(
                "{} {} could not be installed: is the crate registry reachable? By hand: cargo install --locked \
                 --version {} --root {} {}",
                self.name,
                self.version,
                self.version,
                folder.display(),
                self.name
            );
        }
        Ok(binary)
    }
}

/// Where tools are kept.
pub(crate) fn cache() -> Result<PathBuf> {
    cache_folder(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
}

/// `${XDG_CACHE_HOME:-~/.cache}/landbridge/tools`; a relative XDG_CACHE_HOME is ignored, as its standard says.
fn cache_folder(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    let cache = xdg
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| home.map(|home| Path::new(&home).join(".cache")))
        .context("neither HOME nor XDG_CACHE_HOME is set: set one, the tools are kept below it")?;
    Ok(cache.join("landbridge").join("tools"))
}

/// Installs what is missing where that is possible, and returns what is still missing.
pub(crate) fn ensure(tools: &[SystemTool]) -> Result<Vec<SystemTool>> {
    let missing = missing(tools);
    if missing.is_empty() || !can_install() {
        return Ok(missing);
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    say(&format!("installing with apt-get: {}", packages.join(" ")));
    let update = process::run("apt-get update", apt_get().args(["-q", "update"]))?;
    if update.success {
        let _quiet = NoDaemons::new(Path::new("/usr/sbin/policy-rc.d"));
        let mut install = apt_get();
        install
            .args(["-q", "install", "-y", "--no-install-recommends"])
            .args(&packages);
        process::run("apt-get install", &mut install)?;
    }
    Ok(self::missing(tools))
}

/// While it is there, packages that are installed start no daemon: the suites start their own, and nobody has asked for
/// a containerd or a PostgreSQL on this machine. The file is Debian's way to say so (invoke-rc.d(8)).
struct NoDaemons {
    policy: Option<PathBuf>,
}

impl NoDaemons {
    fn new(policy: &Path) -> Self {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        // One that is there already is the machine's own rule.
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(policy);
        let written = file.and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n"));
        Self {
            policy: written.is_ok().then(|| policy.to_path_buf()),
        }
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Some(policy) = &self.policy {
            let _ = std::fs::remove_file(policy);
        }
    }
}

/// The command `cargo xtask tools`: fails when something is still missing, and names it.
pub(crate) fn report() -> Result<ExitCode> {
    let all: Vec<_> = BUILD
        .iter()
        .chain(IMAGE)
        .chain(SUITES)
        .chain(NETNS)
        .chain(POSTGRES)
        .chain(CLUSTER)
        .chain(NODE)
        .copied()
        .chain(crate::conformance::tools())
        .collect();
    let missing = ensure(&all)?;
    for tool in &all {
        let state = if missing.contains(tool) {
            "missing"
        } else {
            "present"
        };
        say(&format!(
            "{state}  {:8} ({}; package {})",
            tool.command, tool.needed_by, tool.package
        ));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    say(&format!(
        "{}  {GO:8} (operator: builds the API server of the suites; 1.26 or newer, https://go.dev/doc/install)",
        if on_path(GO, &path) { "present" } else { "missing" }
    ));
    Ok(if missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn missing(tools: &[SystemTool]) -> Vec<SystemTool> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    tools
        .iter()
        .filter(|tool| !on_path(tool.command, &path))
        .copied()
        .collect()
}

fn on_path(command: &str, path: &std::ffi::OsStr) -> bool {
    // Joining a path from the root to a folder is that path.
    std::env::split_paths(path).any(|folder| folder.join(command).is_file())
}

fn can_install() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root = Command::new("id")
        .arg("-u")
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && on_path("apt-get", &path)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_follows_the_standard() {
        let os = |text: &str| Some(OsString::from(text));
        let cases = [
            (os("/x/cache"), os("/home/u"), Some("/x/cache/landbridge/tools")),
            (None, os("/home/u"), Some("/home/u/.cache/landbridge/tools")),
            (
                os("relative"),
                os("/home/u"),
                Some("/home/u/.cache/landbridge/tools"),
            ),
            (os(""), os("/home/u"), Some("/home/u/.cache/landbridge/tools")),
            (None, None, None),
        ];
        for (xdg, home, expected) in cases {
            let found = cache_folder(xdg.clone(), home.clone()).ok();
            assert_eq!(found.as_deref(), expected.map(Path::new), "{xdg:?} {home:?}");
        }
    }

    #[test]
    fn daemons_are_forbidden_for_a_while_and_a_rule_of_the_machine_stays() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy-rc.d");
        let guard = NoDaemons::new(&policy);
        let mode = std::os::unix::fs::PermissionsExt::mode(&policy.metadata().unwrap().permissions());
        assert_eq!(mode & 0o111, 0o111, "{mode:o}");
        let asked = Command::new("sh")
            .arg(&policy)
            .args(["slapd", "start"])
            .status()
            .unwrap();
        assert_eq!(asked.code(), Some(101));
        drop(guard);
        assert!(!policy.exists());
        std::fs::write(&policy, "own").unwrap();
        drop(NoDaemons::new(&policy));
        assert_eq!(std::fs::read_to_string(&policy).unwrap(), "own");
    }

    #[test]
    fn programs_are_looked_up_on_the_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("there"), "").unwrap();
        let path = std::env::join_paths([Path::new("/nonexistent"), folder.path()]).unwrap();
        assert!(on_path("there", &path));
        assert!(!on_path("elsewhere", &path));
        let absolute = folder.path().join("there").display().to_string();
        assert!(on_path(&absolute, std::ffi::OsStr::new("/nonexistent")));
    }
}
