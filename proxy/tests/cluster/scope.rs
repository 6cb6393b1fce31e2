//! Who may use a route.

use std::time::Duration;

use landbridge_destination::route::{Route, RouteProtocol, Scope};
use landbridge_destination::serve::{Delta, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::operator::{Identity, Mounts, Operator};
use crate::proxy::{Caller, Proxy, get, route, snapshot, workload};
use crate::store::{Store, echo, target};

fn namespaced(name: &str) -> Route {
    Route {
        scope: Scope::Namespaced,
        ..route(name)
    }
}

fn tcp(scope: Scope) -> Route {
    Route {
        protocol: RouteProtocol::Tcp,
        scope,
        generation: u64::from(scope == Scope::Namespaced),
        ..route("db")
    }
}

struct Scene {
    operator: Operator,
    proxy: Proxy,
    store: Store,
    _mounts: Mounts,
}

/// 127.0.0.1 is a pod of the routes' namespace, 127.0.0.2 one of another, 127.0.0.3 none at all.
async fn scene(routes: Vec<Route>) -> Scene {
    let (identity, store) = (Identity::proper(), Store::start().await);
    store.put("erp", target("erp").await);
    store.put("open", target("open").await);
    store.put_tcp("db", echo().await);
    let mounts = Mounts::new(&identity);
    let pods = vec![workload("127.0.0.1", "shop"), workload("127.0.0.2", "dev")];
    let operator = Operator::start(&identity, &[snapshot(1, routes, pods)]).await;
    let proxy = Proxy::start(operator.address, &mounts, &store);
    Scene {
        operator,
        proxy,
        store,
        _mounts: mounts,
    }
}

#[tokio::test]
async fn a_namespaced_destination_answers_its_own_namespace_only() {
    let scene = scene(vec![namespaced("erp"), route("open")]).await;
    let (erp, open) = (scene.proxy.serves("erp").await, scene.proxy.serves("open").await);
    for caller in ["127.0.0.2", "127.0.0.3"] {
        let refused = get(caller, erp).await;
        for part in [
            "HTTP/1.1 403 Forbidden\r\n",
            "x-error-origin: Transparent Proxy\r\n",
            "x-internal-error-code: caller-forbidden\r\n",
            "accessControl.scope: clusterWide",
            "call it from namespace 'shop'",
        ] {
            assert!(refused.contains(part), "{refused}");
        }
        let who = if caller == "127.0.0.2" {
            "namespace 'dev'"
        } else {
            "no known pod"
        };
        assert!(refused.contains(who), "{refused}");
        assert!(get(caller, open).await.ends_with("\r\n\r\nopen"));
    }
    assert_eq!(
        scene.store.asked("erp"),
        0,
        "nothing is looked up for who may not call"
    );
    assert!(get("127.0.0.1", erp).await.ends_with("\r\n\r\nerp"));
    let denied = "landbridge_proxy_denied_total{namespace=\"shop\",destination=\"erp\"}";
    assert_eq!(scene.proxy.metric(denied), Some(2.0));
}

#[tokio::test]
async fn a_kept_connection_loses_and_regains_its_right() {
    let scene = scene(vec![namespaced("erp")]).await;
    let erp = scene.proxy.serves("erp").await;
    let mut caller = Caller::connect("127.0.0.1", erp).await;
    assert!(caller.get().await.ends_with("\r\n\r\nerp"));
    let pods = |version: u64, namespace: &str| {
        Message::Delta(Delta {
            version,
            workloads: vec![workload("127.0.0.1", namespace)],
            ..Delta::default()
        })
    };
    let limit = async {
        scene.operator.say(&pods(2, "dev"));
        while !caller.get().await.starts_with("HTTP/1.1 403") {}
        scene.operator.say(&pods(3, "shop"));
        while !caller.get().await.starts_with("HTTP/1.1 200") {}
        // Everybody may, then not everybody.
        let mut other = Caller::connect("127.0.0.2", erp).await;
        for (version, scope, start) in [
            (4, Scope::ClusterWide, "HTTP/1.1 200"),
            (5, Scope::Namespaced, "HTTP/1.1 403"),
        ] {
            let changed = Route {
                scope,
                generation: version,
                ..route("erp")
            };
            scene.operator.say(&Message::Delta(Delta {
                version,
                routes: vec![changed],
                ..Delta::default()
            }));
            while !other.get().await.starts_with(start) {}
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), limit).await.is_ok());
}

#[tokio::test]
async fn tcp_callers_without_the_right_are_cut_off() {
    let scene = scene(vec![tcp(Scope::Namespaced)]).await;
    let db = scene.proxy.serves("db").await;
    let mut text = [0; 5];
    for caller in ["127.0.0.2", "127.0.0.3"] {
        let mut refused = Caller::connect(caller, db).await.0;
        // Closed, with or without a reset, and nothing of the system behind.
        assert_eq!(refused.read(&mut text).await.unwrap_or_default(), 0);
    }
    assert_eq!(scene.store.asked("db"), 0);
    let denied = "landbridge_proxy_denied_total{namespace=\"shop\",destination=\"db\"}";
    assert_eq!(scene.proxy.metric(denied), Some(2.0));

    let mut allowed = Caller::connect("127.0.0.1", db).await.0;
    allowed.write_all(b"hello").await.unwrap();
    allowed.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"hello");
    let changed = Message::Delta(Delta {
        version: 2,
        routes: vec![tcp(Scope::ClusterWide)],
        ..Delta::default()
    });
    scene.operator.say(&changed);
    let mut other = Caller::connect("127.0.0.2", db).await.0;
    let limit = async {
        // Until the change has arrived, connections are still refused.
        while other.write_all(b"hello").await.is_err() || other.read_exact(&mut text).await.is_err() {
            other = Caller::connect("127.0.0.2", db).await.0;
        }
        let back = Message::Delta(Delta {
            version: 3,
            routes: vec![tcp(Scope::Namespaced)],
            ..Delta::default()
        });
        scene.operator.say(&back);
        assert_eq!(
            other.read(&mut text).await.unwrap_or_default(),
            0,
            "a lasting connection ends with its right"
        );
        let gone = Message::Delta(Delta {
            version: 4,
            removed_workloads: vec!["127.0.0.1".parse().unwrap()],
            ..Delta::default()
        });
        scene.operator.say(&gone);
        assert_eq!(
            allowed.read(&mut text).await.unwrap_or_default(),
            0,
            "and with its pod"
        );
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), limit).await.is_ok());
}
