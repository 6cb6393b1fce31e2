//! What is left on the machine when a cluster has ended: nothing, however it has ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use landbridge_test_node::{Cluster, Options};
use landbridge_tests::eventually;
use landbridge_tests::process::binary;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::images;

/// Settings of the whole machine that a kubelet or a kube-proxy changes where it is let.
const SETTINGS: &[&str] = &[
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/ip_forward",
    "net/netfilter/nf_conntrack_max",
];

/// Folders in which containerd, kubelet and network plugins write, whatever they are told.
const HOST_FOLDERS: &[&str] = &[
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/log/containers",
    "/var/log/pods",
    "/run/containerd",
    "/opt/containerd",
];

/// What a cluster could change on the machine.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    settings: BTreeMap<&'static str, String>,
    links: Vec<String>,
    folders: BTreeMap<&'static str, Vec<String>>,
}

impl Machine {
    fn now() -> Self {
        let setting = |name: &&'static str| {
            let value = std::fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
            (*name, value)
        };
        Self {
            settings: SETTINGS.iter().map(setting).collect(),
            links: names(Path::new("/sys/class/net")),
            folders: HOST_FOLDERS
                .iter()
                .map(|&folder| (folder, names(Path::new(folder))))
                .collect(),
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Everything of the cluster in `folder` that can be found on the machine, one line each.
fn traces(folder: &Path) -> Vec<String> {
    let mut traces = Vec::new();
    if folder.exists() {
        traces.push(format!("folder {}", folder.display()));
    }
    let text = folder.to_str().expect("a path");
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("the mounts");
    traces.extend(
        mounts
            .lines()
            .filter(|line| line.contains(text))
            .map(|line| format!("mount {line}")),
    );
    let name = folder.file_name().expect("a name").to_string_lossy();
    let root = Path::new("/sys/fs/cgroup");
    let mut hierarchies: Vec<PathBuf> = names(root).iter().map(|one| root.join(one)).collect();
    hierarchies.push(root.to_owned());
    let groups = hierarchies
        .into_iter()
        .map(|one| one.join(format!("lbnode-{name}")));
    traces.extend(
        groups
            .filter(|one| one.exists())
            .map(|one| format!("cgroup {}", one.display())),
    );
    for id in names(Path::new("/proc")) {
        let about = |file: &str| {
            let bytes = std::fs::read(Path::new("/proc").join(&id).join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let words = about("cmdline");
        if id.parse::<u32>().is_ok() && (words.contains(text) || about("environ").contains(text)) {
            traces.push(format!("process {id} {words}"));
        }
    }
    traces
}

async fn nothing_is_left(folder: &Path) {
    eventually("nothing is left", async || {
        let left = traces(folder);
        left.is_empty().then_some(()).ok_or(left.join("\n"))
    })
    .await;
}

/// Everything that could leave something: pods, a second node, commands in both networks.
#[tokio::test]
async fn nothing_is_left_of_a_cluster_that_was_stopped() {
    let before = Machine::now();
    let cluster = Cluster::start(Options::default()).await.expect("a cluster");
    let folder = cluster.folder().to_owned();
    cluster.import(&images::probe()).await.expect("an image");
    let second = cluster.add_node("node2").await.expect("a second node");
    second.import(&images::probe()).await.expect("an image");
    super::pods(&cluster).await;
    let program = images::probe_program();
    let mut strays = Vec::new();
    for mut command in [cluster.command(&program), cluster.company().command(&program)] {
        strays.push(
            command
                .arg("pause")
                .stdin(Stdio::null())
                .spawn()
                .expect("it starts"),
        );
    }
    let running = traces(&folder);
    for kind in ["folder", "cgroup", "process"] {
        assert!(
            running.iter().any(|trace| trace.starts_with(kind)),
            "no {kind} is found, so the search is wrong: {running:#?}"
        );
    }
    assert!(
        !running.iter().any(|trace| trace.starts_with("mount")),
        "mounts of nodes are private: {running:#?}"
    );

    cluster.stop().await;
    for mut stray in strays {
        // Killed and not waited for by anybody else.
        let ended = stray.wait().await.expect("it is a child");
        assert!(!ended.success(), "{ended}");
    }
    assert_eq!(traces(&folder), Vec::<String>::new());
    assert_eq!(Machine::now(), before);
}

/// A process that holds a cluster, and the cluster's folder.
async fn owner() -> (Child, PathBuf) {
    let program = binary().with_file_name("test-node");
    assert!(
        program.is_file(),
        "{} is missing; run `cargo build -p landbridge-test-node` first",
        program.display()
    );
    let mut owner = Command::new(program);
    owner
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut owner = owner.spawn().expect("it starts");
    let mut lines = BufReader::new(owner.stdout.take().expect("a pipe")).lines();
    loop {
        let line = lines
            .next_line()
            .await
            .expect("its output")
            .expect("the line of the kubeconfig");
        if let Some(kubeconfig) = line.strip_prefix("export KUBECONFIG=") {
            let kubeconfig = PathBuf::from(kubeconfig.trim_matches('\''));
            return (owner, kubeconfig.parent().expect("a folder").to_owned());
        }
    }
}

/// A test program that is killed runs nothing at its end.
#[tokio::test]
async fn nothing_is_left_of_a_cluster_whose_owner_was_killed() {
    let before = Machine::now();
    let (mut owner, folder) = owner().await;
    assert!(!traces(&folder).is_empty());
    owner.kill().await.expect("it runs");
    nothing_is_left(&folder).await;
    assert_eq!(Machine::now(), before);
}

/// When even the cleaner is killed, the next start removes what is left.
#[tokio::test]
async fn the_next_start_removes_what_is_left() {
    let before = Machine::now();
    let (mut owner, folder) = owner().await;
    let id = owner.id().expect("it runs");
    let mut children = Vec::new();
    // Each thread has children of its own.
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("its threads");
    for thread in threads.flatten() {
        let more = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(more.split_whitespace().map(str::to_owned));
    }
    let cleaner = children.into_iter().find(|child| {
        let words = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        words.starts_with("sh\0") && words.contains("Removes what a cluster leaves")
    });
    let cleaner: i32 = cleaner.expect("a cleaner").parse().expect("a process");
    let cleaner = rustix::process::Pid::from_raw(cleaner).expect("a process");
    rustix::process::kill_process(cleaner, rustix::process::Signal::KILL).expect("it runs");
    owner.kill().await.expect("it runs");
    eventually("only files and cgroups are left", async || {
        let left = traces(&folder);
        let processes = left.iter().any(|trace| trace.starts_with("process"));
        (!processes).then_some(()).ok_or(left.join("\n"))
    })
    .await;
    assert!(folder.exists(), "nobody was there to remove it");

    let next = Cluster::start(Options::default()).await.expect("a cluster");
    assert_eq!(traces(&folder), Vec::<String>::new());
    next.stop().await;
    assert_eq!(Machine::now(), before);
}
