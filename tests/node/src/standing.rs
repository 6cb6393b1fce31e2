//! The cluster that stays: `up`, `down`, where it is, more nodes. One per user.
//!
//! Only the processes that hold namespaces are noted: everything else ends with them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landbridge_control_plane::credentials::Authority;
use landbridge_control_plane::{Life, Progress, end, folders, remember, stands};

use crate::machine::{Common, write};
use crate::namespaces;
use crate::running::{self, FIRST, KUBECONFIG, Needs, Running};
use crate::{Options, addresses};

/// Written last: without it a start was interrupted.
const COMPLETE: &str = "nodes";

/// The programs of a shell that uses the cluster.
const PROGRAMS: &str = "bin";

/// The cluster that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its folder: keys, logs, and programs that run in its network.
    pub folder: PathBuf,
    // Name, and a process in the namespaces, in the order of their numbers.
    nodes: Vec<(String, u32)>,
}

impl Standing {
    /// The one that runs, if one does.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn find() -> Result<Option<Self>> {
        Self::find_in(&folder()?)
    }

    fn find_in(folder: &Path) -> Result<Option<Self>> {
        let complete = folder.join(COMPLETE);
        if !stands(folder)? || !complete.is_file() {
            return Ok(None);
        }
        let text =
            std::fs::read_to_string(&complete).with_context(|| format!("read {}", complete.display()))?;
        Ok(Some(Self {
            folder: folder.to_path_buf(),
            nodes: parse(&text).with_context(|| format!("read {}", complete.display()))?,
        }))
    }

    /// Lines for a shell: `eval "$(cargo xtask cluster env)"`.
    pub fn exports(&self) -> String {
        let quoted = |path: PathBuf| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        format!(
            "export KUBECONFIG={}\nexport KUBECACHEDIR={}\nexport PATH={}:\"$PATH\"\n\
             # kubectl and helm call the cluster; `in-node PROGRAM` and `in-company PROGRAM` run one in these networks\n",
            quoted(self.folder.join(KUBECONFIG)),
            quoted(self.folder.join("kubectl-cache")),
            quoted(self.folder.join(PROGRAMS)),
        )
    }
}

fn parse(text: &str) -> Result<Vec<(String, u32)>> {
    text.lines()
        .map(|line| {
            let (name, init) = line.split_once(' ').context("a line without a process")?;
            Ok((name.to_owned(), init.parse().context("no process")?))
        })
        .collect()
}

/// Starts it, unless it runs; what an interrupted or half-dead one has left is removed first.
///
/// # Errors
/// As for [`Cluster::start`](crate::Cluster::start).
pub fn up(progress: Progress<'_>) -> Result<Standing> {
    if let Some(reason) = crate::unable() {
        bail!("this machine can have no cluster: {reason}");
    }
    let folder = folder()?;
    let _lock = guard(&folder)?;
    if let Some(standing) = Standing::find_in(&folder)? {
        progress("it runs already");
        return Ok(standing);
    }
    remove(&folder)?;
    folders::private_folder(&folder)?;
    let needs = Needs::find(progress)?;
    let helm = needs.helm.clone();
    let kubectl = needs.plane.kubectl.clone();
    let mut note = |_: &str, holder: u32| remember(&folder, holder);
    let started = Running::start_in(needs, &folder, Options::default(), Life::UntilStopped, &mut note)
        .and_then(|running| write_programs(&running, &kubectl, &helm).map(|()| running))
        .and_then(|running| {
            let first = running.first()?.namespaces.init();
            write(&folder.join(COMPLETE), &format!("{FIRST} {first}\n"))
        });
    if let Err(error) = started {
        remove(&folder)?;
        return Err(error);
    }
    Standing::find_in(&folder)?.context("it ended right after its start: run it again")
}

/// Adds a node, and waits until it is ready.
///
/// # Errors
/// When no cluster runs, or as for [`Cluster::add_node`](crate::Cluster::add_node).
pub fn add_node(name: &str, progress: Progress<'_>) -> Result<()> {
    let folder = folder()?;
    let _lock = guard(&folder)?;
    let standing =
        Standing::find_in(&folder)?.context("no cluster runs: start one with `cargo xtask cluster up`")?;
    let (number, first) = place_of(&standing.nodes, name)?;
    let needs = Needs::find(progress)?;
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let common = Common {
        folder: &folder,
        programs: &needs.node,
        authority: &Authority::read(read("ca.crt")?, read("ca.key")?)?,
        kube_proxy: Options::default().kube_proxy,
        life: Life::UntilStopped,
    };
    let started = running::start_node(&common, first, &needs.pause, name, number, &mut |_, holder| {
        remember(&folder, holder)
    });
    let ready = started.and_then(|mut node| {
        running::wait_for_node(&mut node, first, &needs.plane, &folder)?;
        Ok(node)
    });
    let node = ready.context("half a node is there now: stop the cluster with `cargo xtask cluster down`")?;
    let mut all = read(COMPLETE)?;
    all.push_str(&format!("{name} {}\n", node.namespaces.init()));
    write(&folder.join(COMPLETE), &all)
}

/// Number of the next node, and a process in the first.
fn place_of(nodes: &[(String, u32)], name: &str) -> Result<(u8, u32)> {
    addresses::check_name(name)?;
    if nodes.iter().any(|(taken, _)| taken == name) {
        bail!("there is a node {name} already: use another name");
    }
    let number = u8::try_from(nodes.len() + 1).unwrap_or(u8::MAX);
    if number > addresses::MOST_NODES {
        bail!(
            "{} nodes is the most: use those that are there",
            addresses::MOST_NODES
        );
    }
    let (_, first) = nodes.first().context("a cluster without a node")?;
    Ok((number, *first))
}

/// Stops it and removes everything it had; says whether anything was there.
///
/// # Errors
/// When a process does not end, or something cannot be removed.
pub fn down() -> Result<bool> {
    let folder = folder()?;
    let _lock = guard(&folder)?;
    remove(&folder)
}

fn remove(folder: &Path) -> Result<bool> {
    let there = folder.is_dir();
    end(folder)?;
    running::clean(folder)?;
    Ok(there)
}

fn folder() -> Result<PathBuf> {
    Ok(running::place()?.join("cluster"))
}

/// One `up`, `down` or `add-node` at a time.
fn guard(folder: &Path) -> Result<std::fs::File> {
    if let Some(parent) = folder.parent() {
        folders::private_folder(parent)?;
    }
    folders::lock(&folder.with_extension("lock"))
}

/// Programs that run in the networks, for the `PATH` of a shell.
fn write_programs(running: &Running, kubectl: &Path, helm: &Path) -> Result<()> {
    let programs = running.folder().join(PROGRAMS);
    folders::private_folder(&programs)?;
    let node = namespaces::network_words(running.first()?.namespaces.init()).join(" ");
    let company = running.uplink.words().join(" ");
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    for (name, words) in [
        ("kubectl", format!("{node} {}", quoted(kubectl))),
        ("helm", format!("{node} {}", quoted(helm))),
        ("in-node", node.clone()),
        ("in-company", company),
    ] {
        let path = programs.join(name);
        let mark = format!("{}={}", running::MARK, quoted(running.folder()));
        write(&path, &format!("#!/bin/sh\n{mark} exec {words} \"$@\"\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("make {} executable", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_back() {
        let nodes = parse("node1 17\nnode2 18\n").unwrap();
        assert_eq!(nodes, [("node1".to_owned(), 17), ("node2".to_owned(), 18)]);
        assert!(parse("node1\n").is_err());
    }

    #[test]
    fn a_node_gets_the_next_number_and_a_name_of_its_own() {
        let nodes = [("node1".to_owned(), 17)];
        assert_eq!(place_of(&nodes, "node2").unwrap(), (2, 17));
        assert!(place_of(&nodes, "node1").is_err());
        let many: Vec<_> = (0..9).map(|number| (format!("n{number}"), 1)).collect();
        let error = place_of(&many, "more").unwrap_err().to_string();
        assert!(error.contains("the most"), "{error}");
    }

    #[test]
    fn an_interrupted_start_does_not_stand() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Standing::find_in(folder.path()).unwrap(), None);
        remember(folder.path(), std::process::id()).unwrap();
        assert_eq!(Standing::find_in(folder.path()).unwrap(), None);
        std::fs::write(folder.path().join(COMPLETE), "node1 17\n").unwrap();
        let standing = Standing::find_in(folder.path()).unwrap().unwrap();
        assert!(
            standing.exports().contains("/bin':\"$PATH\""),
            "{}",
            standing.exports()
        );
    }
}
