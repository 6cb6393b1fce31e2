//! Pods with a proxy of their own.

use landbridge_tests::eventually;
use serde_json::{Value, json};

use super::world::{INJECTED, Modes, in_both};
use crate::world::{SHOP, SYSTEM, client, pod};

async fn log(modes: &Modes, pod: &str, container: &str) -> String {
    let arguments = ["logs", "-n", INJECTED, pod, "-c", container];
    let ended = modes.world.kubectl(&arguments).await;
    format!("{}{}", ended.stdout, ended.stderr)
}

/// The application's first call works: redirection was proven before it began. And the Job ends although a proxy ran in it.
#[tokio::test]
async fn a_job_ends_by_itself() {
    in_both(async |modes| {
        let world = &modes.world;
        let get = ["/probe", "get", "http://erp/", "--expect", "200"];
        let template: Value = serde_json::from_str(&pod("job", "test.local/probe:test", &get)).expect("JSON");
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"},
            "spec": {"backoffLimit": 0, "template": {"spec": template["spec"]}}});
        world.apply(INJECTED, &job.to_string()).await;
        let wait = [
            "wait",
            "--for=condition=Complete",
            "job/once",
            "-n",
            INJECTED,
            "--timeout=90s",
        ];
        let ended = world.kubectl(&wait).await;
        assert_eq!(
            ended.code,
            Some(0),
            "{}",
            log(modes, "job/once", "landbridge-proxy").await
        );
        // The Job heard of it.
        eventually("the event", async || {
            let selector = "reason=Injected,involvedObject.name=once";
            let events = [
                "get",
                "events",
                "-n",
                INJECTED,
                "--field-selector",
                selector,
                "-o",
                "name",
            ];
            let events = world.kubectl(&events).await.success();
            if events.trim().is_empty() {
                Err(events)
            } else {
                Ok(())
            }
        })
        .await;
        let delete = ["delete", "job", "once", "-n", INJECTED, "--wait=false"];
        world.kubectl(&delete).await.success();
    })
    .await;
}

/// Probes of the kubelet reach the application, and a Service sends it calls.
#[tokio::test]
async fn probes_and_calls_from_outside_still_arrive() {
    in_both(async |modes| {
        let mut server: Value = serde_json::from_str(&pod(
            "server",
            "test.local/probe:test",
            &["/probe", "serve", ":8080"],
        ))
        .expect("JSON");
        let probe = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
        server["spec"]["containers"][0]["readinessProbe"] = probe.clone();
        server["spec"]["containers"][0]["livenessProbe"] = probe;
        modes.world.apply(INJECTED, &server.to_string()).await;
        modes.world.pod_ready(INJECTED, "server").await;
        let delete = ["delete", "pod", "server", "-n", INJECTED, "--wait=false"];
        modes.world.kubectl(&delete).await.success();
    })
    .await;
}

/// Where Pod Security forbids what redirection needs, the pod runs as it is, its owner hears why, and its calls go by the
/// gateways.
#[tokio::test]
async fn a_restricted_namespace_goes_on_by_the_gateways() {
    in_both(async |modes| {
        let world = &modes.world;
        let mut wishes: Value = serde_json::from_str(&client()).expect("JSON");
        wishes["metadata"]["name"] = "wishes".into();
        wishes["metadata"]["labels"] = json!({"connectivity.landbridge.dev/inject": "true"});
        let arguments = ["apply", "-n", SHOP, "-f", "-"];
        let ended = world.cluster.kubectl_with(&arguments, &wishes.to_string()).await;
        assert!(
            ended.stderr.contains("Warning") && ended.stderr.contains("gateway"),
            "{}",
            ended.stderr
        );
        world.pod_ready(SHOP, "wishes").await;
        let containers = "jsonpath={.spec.initContainers[*].name}";
        let get = ["get", "pod", "wishes", "-n", SHOP, "-o", containers];
        assert_eq!(world.kubectl(&get).await.success(), "");
        let curl = [
            "exec",
            "-n",
            SHOP,
            "wishes",
            "--",
            "curl",
            "-s",
            "-i",
            "http://erp/",
        ];
        let answer = world.kubectl(&curl).await.success();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let delete = ["delete", "pod", "wishes", "-n", SHOP, "--wait=false"];
        world.kubectl(&delete).await.success();
    })
    .await;
}

/// No gateway, no operator, no store: what the sidecar has asked for before, it goes on with.
#[tokio::test]
async fn it_goes_on_while_the_others_are_away() {
    in_both(async |modes| {
        let world = &modes.world;
        world.curl_until(INJECTED, &["http://erp/"], "200 OK").await;
        let scale = |replicas: &'static str| async move {
            for resource in ["deployment/landbridge-proxy", "deployment/landbridge-operator"] {
                let scale = ["scale", resource, "-n", SYSTEM, replicas];
                world.kubectl(&scale).await.success();
            }
        };
        scale("--replicas=0").await;
        eventually("nobody is left", async || {
            let selector = "app.kubernetes.io/component in (proxy,operator)";
            let pods = ["get", "pods", "-n", SYSTEM, "-l", selector, "-o", "name"];
            let pods = world.kubectl(&pods).await.success();
            if pods.trim().is_empty() { Ok(()) } else { Err(pods) }
        })
        .await;
        let answer = world.curl(INJECTED, &["http://erp/"]).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        scale("--replicas=1").await;
        for resource in ["deployment/landbridge-proxy", "deployment/landbridge-operator"] {
            let status = ["rollout", "status", resource, "-n", SYSTEM, "--timeout=120s"];
            world.kubectl(&status).await.success();
        }
    })
    .await;
}
