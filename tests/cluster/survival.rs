//! What callers notice when parts of Landbridge end: nothing.

use std::time::Duration;

use landbridge_tests::eventually;
use serde_json::Value;
use tokio::time::sleep;

use crate::world::{SHOP, SYSTEM, World, pod, world};

/// Clients that call all the time, from pods of their own: one keeps its connections, one makes a new one for each call.
pub struct Load {
    names: [String; 2],
}

impl Load {
    /// Starts both; `name` tells this load from others.
    pub async fn start(world: &World, name: &str, url: &str, seconds: u32) -> Self {
        let seconds = seconds.to_string();
        let command = [
            "/probe",
            "load",
            url,
            "--seconds",
            &seconds,
            "--workers",
            "4",
            "--interval",
            "5ms",
        ];
        let names = [format!("{name}-kept"), format!("{name}-fresh")];
        let [kept, fresh] = &names;
        world
            .apply(SHOP, &pod(kept, "test.local/probe:test", &command))
            .await;
        let command = [&command[..], &["--fresh"]].concat();
        world
            .apply(SHOP, &pod(fresh, "test.local/probe:test", &command))
            .await;
        for name in &names {
            world.pod_ready(SHOP, name).await;
        }
        Self { names }
    }

    /// Waits for the end: how many calls there were, and what failed.
    pub async fn end(self, world: &World) -> (u64, String) {
        let (mut calls, mut failures) = (0, String::new());
        for name in &self.names {
            let sum: Value = eventually("the sum of the load", async || {
                let log = world.kubectl(&["logs", "-n", SHOP, name]).await;
                serde_json::from_str(log.stdout.trim())
                    .map_err(|error| format!("{error}: {}{}", log.stdout, log.stderr))
            })
            .await;
            calls += sum["ok"].as_u64().expect("a number");
            if sum["failed"] != 0 {
                failures.push_str(&format!("{name}: {sum}\n"));
            }
            println!("{name}: {sum}");
            world
                .kubectl(&["delete", "pod", "-n", SHOP, name, "--wait=false"])
                .await
                .success();
        }
        (calls, failures)
    }
}

async fn rollout(world: &World, resource: &str) {
    let status = ["rollout", "status", resource, "-n", SYSTEM, "--timeout=120s"];
    world.kubectl(&status).await.success();
}

#[tokio::test]
async fn callers_do_not_notice_that_the_operators_are_gone() {
    let world = world().await;
    world.internet(SHOP, "steady").await;
    world.curl_until(SHOP, &["http://steady/"], "200 OK").await;
    let load = Load::start(world, "operators", "http://steady/", 20).await;
    let operators = "deployment/landbridge-operator";
    world
        .kubectl(&["scale", operators, "-n", SYSTEM, "--replicas=0"])
        .await
        .success();
    let selector = "app.kubernetes.io/component=operator";
    let killed = [
        "delete",
        "pod",
        "-n",
        SYSTEM,
        "-l",
        selector,
        "--force",
        "--grace-period=0",
    ];
    world.kubectl(&killed).await.success();
    sleep(Duration::from_secs(8)).await;
    world
        .kubectl(&["scale", operators, "-n", SYSTEM, "--replicas=2"])
        .await
        .success();
    rollout(world, operators).await;
    let (calls, failures) = load.end(world).await;
    assert!(failures.is_empty() && calls > 100, "{calls} calls\n{failures}");
    // And they work again.
    world.internet(SHOP, "later").await;
    world.curl_until(SHOP, &["http://later/"], "200 OK").await;
}

#[tokio::test]
async fn no_call_fails_while_the_proxies_are_replaced() {
    let world = world().await;
    world.internet(SHOP, "rolled").await;
    world.curl_until(SHOP, &["http://rolled/"], "200 OK").await;
    let load = Load::start(world, "proxies", "http://rolled/", 40).await;
    let proxies = "deployment/landbridge-proxy";
    world
        .kubectl(&["rollout", "restart", proxies, "-n", SYSTEM])
        .await
        .success();
    rollout(world, proxies).await;
    world
        .kubectl(&["rollout", "restart", proxies, "-n", SYSTEM])
        .await
        .success();
    rollout(world, proxies).await;
    let (calls, failures) = load.end(world).await;
    assert!(failures.is_empty() && calls > 100, "{calls} calls\n{failures}");
}

/// The store is away: what is kept of destinations is used on.
#[tokio::test]
async fn callers_do_not_notice_that_the_store_restarts() {
    let world = world().await;
    world.internet(SHOP, "kept").await;
    world.curl_until(SHOP, &["http://kept/"], "200 OK").await;
    let load = Load::start(world, "store", "http://kept/", 20).await;
    world
        .kubectl(&[
            "delete",
            "pod",
            "-n",
            SYSTEM,
            "landbridge-store-0",
            "--wait=false",
        ])
        .await
        .success();
    let (calls, failures) = load.end(world).await;
    assert!(failures.is_empty() && calls > 100, "{calls} calls\n{failures}");
    rollout(world, "statefulset/landbridge-store").await;
    // Its volume outlived it.
    world.internet(SHOP, "kept").await;
}
