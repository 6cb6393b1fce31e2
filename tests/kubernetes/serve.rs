//! Who may read the serve API, with real tokens; and who calls from which address, with real pods.

use std::net::IpAddr;
use std::sync::Arc;

use landbridge_destination::serve::{AUDIENCE, Report};
use landbridge_operator::cluster::metrics::OperatorMetrics;
use landbridge_operator::serve::hub::{Audience, Hub};
use landbridge_operator::serve::identity::{KubeReviewer, ReviewError, TokenReviewer as _};
use landbridge_operator::serve::reports::Board;
use landbridge_operator::workloads::{Index, ProxyAccount, Scope, follow};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tests::control_plane::{ControlPlane, Namespace};
use landbridge_tests::eventually;
use landbridge_tests::pods::Pods;
use secrecy::SecretString;
use serde_json::json;
use tokio::time::Instant;

#[tokio::test]
async fn a_token_names_account_and_pod_as_long_as_the_pod_is_there() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("tokens").await;
    let pods = Pods::of(&plane, &namespace).await;
    pods.account("proxy").await;
    let uid = pods.create("proxy-0", "proxy", false).await;
    let token = pods.token("proxy", "proxy-0", &uid, AUDIENCE).await;
    let reviewer = KubeReviewer::new(plane.client().await);
    let identity = reviewer.review(&token).await.expect("vouched for");
    assert_eq!(
        (&*identity.namespace, &*identity.service_account),
        (namespace.name(), "proxy")
    );
    let pod = identity.pod.expect("bound");
    assert_eq!(
        (pod.namespace.as_str(), pod.name.as_str(), pod.uid),
        (namespace.name(), "proxy-0", uid)
    );

    pods.delete("proxy-0").await;
    eventually("a token ends with its pod", async || {
        match reviewer.review(&token).await {
            Err(ReviewError::Refused(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn tokens_for_others_and_forged_ones_are_refused() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("tokens").await;
    let reviewer = KubeReviewer::new(plane.client().await);
    let for_us = plane.token(namespace.name(), "default", &[AUDIENCE]).await;
    let unbound = reviewer
        .review(&SecretString::from(for_us.as_str()))
        .await
        .expect("vouched for");
    assert_eq!(unbound.pod, None);

    let for_api_server = plane.token(namespace.name(), "default", &[]).await;
    let for_another = plane.token(namespace.name(), "default", &["vault"]).await;
    let (signed, _) = for_us.rsplit_once('.').expect("a signature");
    let (_, other_signature) = for_another.rsplit_once('.').expect("a signature");
    let forged = format!("{signed}.{other_signature}");
    for (name, token) in [
        ("the API server's", for_api_server),
        ("another's", for_another),
        ("forged", forged),
        ("none at all", "hello".to_owned()),
    ] {
        let refused = reviewer.review(&SecretString::from(token)).await;
        assert!(
            matches!(refused, Err(ReviewError::Refused(_))),
            "{name}: {refused:?}"
        );
    }
}

/// Not a reason to turn proxies away for good: they are asked to try again.
#[tokio::test]
async fn an_operator_that_may_not_ask_says_what_it_needs() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("tokens").await;
    let token = plane.token(namespace.name(), "default", &[AUDIENCE]).await;
    let nobody = plane.service_account(namespace.name(), "default").await;
    let reviewer = KubeReviewer::new(plane.client_of(&nobody).await);
    match reviewer.review(&SecretString::from(token)).await {
        Err(ReviewError::Unavailable(why)) => {
            assert!(why.contains("tokenreviews.authentication.k8s.io"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

struct Watching {
    index: Arc<Index>,
    board: Arc<Board>,
    hub: Arc<Hub>,
    shutdown: Shutdown,
}

impl Watching {
    async fn start(plane: &ControlPlane, namespace: &Namespace) -> Self {
        let (hub, board) = (Arc::new(Hub::new()), Board::new());
        let accounts = vec![ProxyAccount {
            namespace: namespace.name().to_owned(),
            service_account: "proxy".to_owned(),
        }];
        let scope = Scope::Namespaces(vec![namespace.name().to_owned()]);
        let index = Index::new(scope.watches(), accounts, Arc::clone(&hub), Arc::clone(&board));
        let index = Arc::new(index);
        let shutdown = Shutdown::new();
        let client = plane.client().await;
        let metrics = OperatorMetrics::new(&Metrics::new());
        let following = follow(client, scope, Arc::clone(&index), metrics, shutdown.clone());
        shutdown.spawn(following);
        Self {
            index,
            board,
            hub,
            shutdown,
        }
    }

    async fn caller(&self, address: &str, account: Option<&str>) {
        let address: IpAddr = address.parse().expect("an address");
        eventually(&format!("{address} is {account:?}"), async || {
            let found = self.index.caller(address).map(|caller| caller.service_account);
            if found.as_deref() == account {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

#[tokio::test]
async fn addresses_follow_the_pods() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("pods").await;
    let pods = Pods::of(&plane, &namespace).await;
    // One is there before the watch, the others come later.
    pods.create("early", "default", false).await;
    pods.runs("early", &["10.64.0.1", "fd00::1"], true).await;
    let watching = Watching::start(&plane, &namespace).await;
    let mut listed = watching.index.listed();
    listed.wait_for(|listed| *listed).await.expect("listed");
    watching.caller("10.64.0.1", Some("default")).await;
    watching.caller("fd00::1", Some("default")).await;

    pods.account("robot").await;
    pods.create("late", "robot", false).await;
    pods.runs("late", &["10.64.0.2"], true).await;
    watching.caller("10.64.0.2", Some("robot")).await;
    pods.create("host", "robot", true).await;
    pods.runs("host", &["10.64.0.3"], true).await;

    // The end of a job gives its address back, although the pod stays.
    pods.status("late", &json!({ "phase": "Succeeded" })).await;
    watching.caller("10.64.0.2", None).await;
    pods.delete("early").await;
    watching.caller("10.64.0.1", None).await;
    watching.caller("fd00::1", None).await;
    watching.caller("10.64.0.3", None).await;

    watching.hub.complete();
    let told = watching.hub.tell(&mut watching.hub.subscribe(Audience::All));
    let text = String::from_utf8(told.lines.concat()).expect("text");
    assert!(!text.contains("10.64.0."), "{text}");
}

#[tokio::test]
async fn proxies_and_their_reports_come_and_go_with_their_pods() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("pods").await;
    let pods = Pods::of(&plane, &namespace).await;
    pods.account("proxy").await;
    let watching = Watching::start(&plane, &namespace).await;
    let uid = pods.create("proxy-0", "proxy", false).await;
    pods.runs("proxy-0", &["10.65.0.1"], false).await;
    let one = async |ready: bool| {
        eventually("the proxy", async || match &watching.index.proxies()[..] {
            [proxy] if proxy.ready == ready && !proxy.addresses.is_empty() => Ok(proxy.clone()),
            other => Err(format!("{other:?}")),
        })
        .await
    };
    let proxy = one(false).await;
    assert_eq!((proxy.id.uid.as_str(), proxy.terminating), (uid.as_str(), false));
    pods.runs("proxy-0", &["10.65.0.1"], true).await;
    one(true).await;

    let report = Report {
        process: 1,
        sequence: 1,
        whole: true,
        ..Report::default()
    };
    watching
        .board
        .take(&proxy.id, report, Instant::now())
        .expect("taken");
    pods.delete("proxy-0").await;
    eventually("what it reported is forgotten", async || {
        let left = watching.board.read(|reports| reports.pods().count());
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} report"))
        }
    })
    .await;
    assert_eq!(watching.index.proxies(), []);
}
