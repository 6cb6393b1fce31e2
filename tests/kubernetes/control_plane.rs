//! What the other suites take for granted: garbage collection, RBAC, the audit log, an API server that comes back.

use landbridge_tests::control_plane::ControlPlane;
use landbridge_tests::eventually;

fn config_map(name: &str, owner: Option<(&str, &str)>) -> String {
    let owner = owner.map_or_else(String::new, |(name, uid)| {
        format!("\n  ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: {name}, uid: {uid}}}]")
    });
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}{owner}\n")
}

#[tokio::test]
async fn what_is_owned_goes_with_its_owner() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("owners").await;
    namespace.apply(&config_map("owner", None)).await.success();
    let uid = namespace
        .kubectl(&["get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}"])
        .await
        .success();
    namespace
        .apply(&config_map("owned", Some(("owner", &uid))))
        .await
        .success();
    namespace
        .kubectl(&["delete", "configmap", "owner"])
        .await
        .success();
    eventually("the owned object is collected", async || {
        let found = namespace.kubectl(&["get", "configmap", "owned"]).await;
        if found.stderr.contains("NotFound") {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn users_may_do_what_roles_say_and_nothing_else() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("roles").await;
    let name = namespace.name();
    for role in ["certificate", "token"] {
        let verbs = if role == "token" {
            "--verb=list"
        } else {
            "--verb=get,list"
        };
        namespace
            .kubectl(&["create", "role", role, verbs, "--resource=configmaps"])
            .await
            .success();
    }
    let group = format!("--group={name}-team");
    namespace
        .kubectl(&["create", "rolebinding", "a", "--role=certificate", &group])
        .await
        .success();
    namespace
        .kubectl(&["create", "serviceaccount", "robot"])
        .await
        .success();
    let account = format!("--serviceaccount={name}:robot");
    namespace
        .kubectl(&["create", "rolebinding", "b", "--role=token", &account])
        .await
        .success();

    let alice = plane.user("alice", Some(&format!("{name}-team")));
    let robot = plane.service_account(name, "robot").await;
    let nobody = plane.user("nobody", None);
    let get = ["get", "configmap", "kube-root-ca.crt", "-n", name];
    let list = ["get", "configmaps", "-n", name];
    let secrets = ["get", "secrets", "-n", name];
    for (user, arguments, allowed) in [
        (&alice, &get[..], true),
        (&alice, &list, true),
        (&alice, &secrets, false),
        (&robot, &list, true),
        (&robot, &get, false),
        (&nobody, &list, false),
    ] {
        let ended = plane.kubectl_as(user, arguments, "").await;
        if allowed {
            ended.success();
        } else {
            let said = ended.failure();
            assert!(said.contains("Forbidden"), "{said}");
        }
    }
}

#[tokio::test]
async fn the_audit_log_counts_who_has_written() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("audit").await;
    let mark = plane.audit_mark();
    let manifest = config_map("counted", None);
    let patch = ["patch", "configmap", "counted", "-p", r#"{"data":{"a":"b"}}"#];
    namespace.apply(&manifest).await.success();
    namespace.kubectl(&patch).await.success();
    namespace
        .kubectl(&["get", "configmap", "counted"])
        .await
        .success();
    // The last line appears about when its answer does.
    let events = eventually("the read is in the log", async || {
        let mut events = plane.audit_since(mark);
        events.retain(|event| event.namespace == namespace.name() && event.name == "counted");
        let last = events
            .last()
            .is_some_and(|event| event.verb == "get" && events.len() > 2);
        if last {
            Ok(events)
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;
    let writes: Vec<_> = events.iter().filter(|event| event.is_write()).collect();
    let verbs: Vec<_> = writes
        .iter()
        .map(|event| (event.verb.as_str(), event.code))
        .collect();
    assert_eq!(verbs, [("create", 201), ("patch", 200)], "{events:?}");
    assert!(
        writes.iter().all(|event| event.user == "landbridge-test-admin"),
        "{writes:?}"
    );
    assert!(
        writes.iter().all(|event| event.agent.starts_with("kubectl/")),
        "{writes:?}"
    );
    assert!(
        writes.iter().all(|event| event.resource == "configmaps"),
        "{writes:?}"
    );
}

#[tokio::test]
async fn an_api_server_that_was_away_knows_everything() {
    let plane = ControlPlane::start().await;
    let namespace = plane.namespace("away").await;
    namespace.apply(&config_map("kept", None)).await.success();
    let url = plane.url();
    plane.stop_apiserver().await;
    let gone = plane.kubectl(&["get", "--raw", "/readyz"]).await.failure();
    assert!(gone.contains("refused"), "{gone}");
    plane.start_apiserver().await;
    assert_eq!(plane.url(), url);
    namespace.kubectl(&["get", "configmap", "kept"]).await.success();
    // The controllers find it again by themselves.
    plane.namespace("after").await;
}

#[tokio::test]
async fn a_client_of_the_tests_is_the_administrator() {
    let plane = ControlPlane::shared().await;
    let version = plane
        .client()
        .await
        .apiserver_version()
        .await
        .expect("the version");
    assert_eq!(version.major, "1");
    let all = plane.kubectl(&["auth", "can-i", "*", "*"]).await.success();
    assert_eq!(all.trim(), "yes");
}

#[tokio::test]
async fn nothing_is_left_when_a_control_plane_ends() {
    let plane = ControlPlane::start().await;
    let processes = plane.processes();
    let folder = plane.kubeconfig().parent().expect("a folder").to_owned();
    assert_eq!(processes.len(), 3, "{processes:?}");
    drop(plane);
    for (name, id) in processes {
        assert!(
            !std::path::Path::new(&format!("/proc/{id}")).exists(),
            "{name} ({id}) still runs"
        );
    }
    assert!(!folder.exists());
}
