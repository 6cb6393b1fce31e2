//! What the machine must have, and in which words it is told what it lacks.

use std::path::{Path, PathBuf};

use crate::files::PLUGIN_FOLDERS;

/// Program, and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
];

/// Plugins of the network of containers that are used.
const PLUGINS: &[&str] = &["ptp", "host-local", "portmap", "loopback"];

/// Controllers without which containers have no limits.
const CONTROLLERS: &[&str] = &["cpu", "cpuset", "memory", "pids"];

/// Why this machine cannot have a cluster; none when it can. Programs that are built are not looked at.
pub fn unable() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let machine = Machine {
        root: is_root(),
        has_program: &|name| folders.iter().any(|folder| folder.join(name).is_file()),
        has_plugin: &|name| plugins().is_some_and(|folder| Path::new(folder).join(name).is_file()),
        controllers: controllers(),
    };
    reason(&machine).or_else(namespaces)
}

/// The folder with the network plugins.
pub(crate) fn plugins() -> Option<&'static str> {
    PLUGIN_FOLDERS
        .into_iter()
        .find(|folder| Path::new(folder).join("ptp").is_file())
}

struct Machine<'a> {
    root: bool,
    has_program: &'a dyn Fn(&str) -> bool,
    has_plugin: &'a dyn Fn(&str) -> bool,
    controllers: Vec<String>,
}

fn reason(machine: &Machine<'_>) -> Option<String> {
    if !machine.root {
        return Some("only root can start nodes: run it with sudo, or in a container with all rights".into());
    }
    let mut packages: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| !(machine.has_program)(program))
        .map(|(_, package)| *package)
        .collect();
    if !PLUGINS.iter().all(|plugin| (machine.has_plugin)(plugin)) {
        packages.push("containernetworking-plugins");
    }
    if !packages.is_empty() {
        packages.dedup();
        return Some(format!(
            "programs are missing: apt-get install {}",
            packages.join(" ")
        ));
    }
    let missing: Vec<_> = CONTROLLERS
        .iter()
        .filter(|wanted| !machine.controllers.iter().any(|has| has == *wanted))
        .copied()
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "no cgroups for {}: mount them below /sys/fs/cgroup",
            missing.join(", ")
        )
    })
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Controllers that can be used: of the second version in one file, of the first a folder each.
fn controllers() -> Vec<String> {
    if let Ok(text) = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        return text.split_whitespace().map(str::to_owned).collect();
    }
    let has = |name: &&&str| {
        Path::new("/sys/fs/cgroup")
            .join(name)
            .join("cgroup.procs")
            .is_file()
    };
    CONTROLLERS
        .iter()
        .filter(has)
        .map(|&name| name.to_owned())
        .collect()
}

/// Whether namespaces can be made is only known by making them.
fn namespaces() -> Option<String> {
    let output = std::process::Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "true"])
        .stdin(std::process::Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "no namespaces can be made ({}): a container needs CAP_SYS_ADMIN for that",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("unshare cannot be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine<'a>(
        has_program: &'a dyn Fn(&str) -> bool,
        has_plugin: &'a dyn Fn(&str) -> bool,
    ) -> Machine<'a> {
        Machine {
            root: true,
            has_program,
            has_plugin,
            controllers: CONTROLLERS.iter().map(|&one| one.to_owned()).collect(),
        }
    }

    #[test]
    fn a_machine_with_everything_is_able() {
        assert_eq!(reason(&machine(&|_| true, &|_| true)), None);
    }

    #[test]
    fn each_lack_is_named_with_its_remedy() {
        let mut other = machine(&|_| true, &|_| true);
        other.root = false;
        assert!(reason(&other).unwrap().contains("sudo"));
        let mut other = machine(&|_| true, &|_| true);
        other.controllers = vec!["cpu".into(), "memory".into()];
        assert!(reason(&other).unwrap().contains("cpuset, pids"));
        let without = machine(&|name| !["ctr", "containerd", "nft"].contains(&name), &|_| true);
        let said = reason(&without).unwrap();
        assert!(said.ends_with("apt-get install containerd nftables"), "{said}");
        let without = machine(&|_| true, &|name| name != "portmap");
        assert!(reason(&without).unwrap().ends_with("containernetworking-plugins"));
    }
}
