//! The node's proxy comes, changes and goes, and callers do not notice.

use landbridge_tests::eventually;

use super::world::{Modes, in_both};
use crate::survival::Load;
use crate::world::{SHOP, SYSTEM};

/// The rules of the node, as the packet filter shows them; empty when there are none.
async fn rules(modes: &Modes) -> String {
    let mut list = modes.world.cluster.command("nft");
    let output = list.args(["list", "tables"]).output().await.expect("nft");
    let tables = String::from_utf8_lossy(&output.stdout).into_owned();
    tables
        .lines()
        .filter(|line| line.contains("landbridge"))
        .collect()
}

async fn node_pod(modes: &Modes) -> String {
    let selector = "app.kubernetes.io/component=node";
    let name = "jsonpath={.items[0].metadata.name}";
    let get = ["get", "pods", "-n", SYSTEM, "-l", selector, "-o", name];
    modes.world.kubectl(&get).await.success()
}

async fn served_on_node_again(modes: &Modes) {
    let before = modes.served_on_node().await;
    eventually("the node's proxy serves", async || {
        modes.world.curl(SHOP, &["http://erp/"]).await;
        match modes.served_on_node().await {
            now if now > before => Ok(()),
            now => Err(format!("{now} connections, as before")),
        }
    })
    .await;
}

/// A new version, a pod that is deleted, mode node switched off and on: no call fails.
#[tokio::test]
async fn no_call_fails_while_the_nodes_proxy_changes() {
    in_both(async |modes| {
        let world = &modes.world;
        served_on_node_again(modes).await;
        let load = Load::start(world, "node", "http://erp/", 40).await;
        let restart = ["rollout", "restart", "daemonset/landbridge-node", "-n", SYSTEM];
        world.kubectl(&restart).await.success();
        let status = [
            "rollout",
            "status",
            "daemonset/landbridge-node",
            "-n",
            SYSTEM,
            "--timeout=120s",
        ];
        world.kubectl(&status).await.success();
        served_on_node_again(modes).await;
        modes.upgrade("node.enabled=false").await;
        eventually("the rules are gone", async || {
            let rules = rules(modes).await;
            if rules.is_empty() { Ok(()) } else { Err(rules) }
        })
        .await;
        world.curl_until(SHOP, &["http://erp/"], "200 OK").await;
        modes.upgrade("node.enabled=true").await;
        served_on_node_again(modes).await;
        let (calls, failures) = load.end(world).await;
        assert!(
            failures.is_empty() && calls > 100,
            "{:?}: {calls} calls\n{failures}",
            modes.kube_proxy
        );
    })
    .await;
}

/// Killed without a word, it leaves its rules behind: what nobody takes goes on to the gateways.
#[tokio::test]
async fn killed_it_leaves_nobody_without_an_answer() {
    in_both(async |modes| {
        let world = &modes.world;
        served_on_node_again(modes).await;
        let pod = node_pod(modes).await;
        kill(modes, &pod).await;
        assert!(!rules(modes).await.is_empty(), "the rules are still there");
        let answer = world.curl(SHOP, &["http://erp/"]).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK"),
            "{:?}: {answer}",
            modes.kube_proxy
        );
        served_on_node_again(modes).await;
    })
    .await;
}

/// Ends the proxy's process as the kernel would when memory is short. It is one of ours: its parent's cgroup names the pod.
async fn kill(modes: &Modes, pod: &str) {
    let uid = "jsonpath={.metadata.uid}";
    let get = ["get", "pod", pod, "-n", SYSTEM, "-o", uid];
    let uid = modes.world.kubectl(&get).await.success();
    let uid = uid.trim().replace('-', "");
    let is_it = |entry: &std::path::Path| {
        let read = |name: &str| std::fs::read_to_string(entry.join(name)).unwrap_or_default();
        read("cgroup").replace(['-', '_'], "").contains(&uid) && read("cmdline").contains("--mode")
    };
    let processes = std::fs::read_dir("/proc").expect("processes");
    let pid = processes
        .filter_map(Result::ok)
        .find(|entry| is_it(&entry.path()))
        .and_then(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .expect("the process of the node's proxy");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
}

/// What somebody else takes away is put back.
#[tokio::test]
async fn rules_that_somebody_deletes_come_back() {
    in_both(async |modes| {
        served_on_node_again(modes).await;
        let mut delete = modes.world.cluster.command("nft");
        let status = delete
            .args(["delete", "table", "inet", "landbridge"])
            .status()
            .await
            .expect("nft");
        assert!(status.success());
        let answer = modes.world.curl(SHOP, &["http://erp/"]).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        served_on_node_again(modes).await;
    })
    .await;
}
