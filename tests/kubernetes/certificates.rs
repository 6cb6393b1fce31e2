//! The operator's certificates in Secret and ConfigMap of a real API server.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use landbridge_operator::admission::{Target, WebhookOptions, configuration};
use landbridge_operator::certificates::keeper::{Keeper, keeper};
use landbridge_operator::certificates::material::Material;
use landbridge_operator::certificates::renewal::{CA_LIFE, DAY, PUBLISH_FIRST};
use landbridge_operator::certificates::{BUNDLE_CONFIG_MAP, BUNDLE_KEY, CertificateConfig, Certificates};
use landbridge_operator::cluster::children::{MANAGED_BY, MANAGER};
use landbridge_operator::serve::Leadership;
use landbridge_tests::control_plane::{ControlPlane, Namespace};
use landbridge_tests::operator::Installation;
use landbridge_tests::{eventually, free_port};
use tokio::sync::watch;

const SECRET: &str = "landbridge-operator-tls";

/// A replica of the operator, as far as certificates go.
struct Replica {
    keeper: Keeper,
    certificates: Certificates,
    leadership: watch::Sender<Leadership>,
}

impl Replica {
    async fn start(plane: &ControlPlane, namespace: &Namespace, leads: bool) -> Self {
        let leadership = watch::Sender::new(Leadership::Following(None));
        if leads {
            leadership.send_replace(Leadership::Leading);
        }
        let config = CertificateConfig::new(namespace.name());
        let (keeper, certificates) = keeper(plane.client().await, config, leadership.subscribe());
        Self {
            keeper,
            certificates,
            leadership,
        }
    }

    async fn look(&mut self, now: i64) -> Result<(), String> {
        self.keeper.look(now).await.map_err(|error| error.to_string())
    }

    fn bundle(&self) -> String {
        String::from_utf8(self.certificates.bundle.borrow().to_vec()).expect("PEM")
    }

    fn authorities(&self) -> usize {
        self.bundle().matches("BEGIN CERTIFICATE").count()
    }
}

struct Stored {
    secrets: Api<Secret>,
    maps: Api<ConfigMap>,
}

impl Stored {
    async fn of(plane: &ControlPlane, namespace: &Namespace) -> Self {
        let client = plane.client().await;
        Self {
            secrets: Api::namespaced(client.clone(), namespace.name()),
            maps: Api::namespaced(client, namespace.name()),
        }
    }

    async fn leaf(&self) -> Vec<u8> {
        let secret = self.secrets.get(SECRET).await.expect("the Secret");
        secret
            .data
            .expect("data")
            .remove("tls.crt")
            .expect("a certificate")
            .0
    }

    async fn bundle(&self) -> Option<String> {
        let map = self.maps.get_opt(BUNDLE_CONFIG_MAP).await.expect("an answer");
        map.and_then(|map| map.data?.remove(BUNDLE_KEY))
    }

    /// Versions of Secret and ConfigMap.
    async fn versions(&self) -> (Option<String>, Option<String>) {
        let secret = self.secrets.get(SECRET).await.expect("the Secret");
        let map = self.maps.get(BUNDLE_CONFIG_MAP).await.expect("the ConfigMap");
        (secret.metadata.resource_version, map.metadata.resource_version)
    }

    async fn edit(&self, namespace: &Namespace, key: &str, value: &str) {
        let patch = serde_json::json!({ "stringData": { key: value } }).to_string();
        namespace
            .kubectl(&["patch", "secret", SECRET, "-p", &patch])
            .await
            .success();
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("a clock").as_secs()).expect("a time")
}

#[tokio::test]
async fn replicas_share_one_authority_and_only_the_leader_publishes() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("certificates").await;
    let stored = Stored::of(&plane, &namespace).await;
    let (now, mut replicas) = (now(), Vec::new());
    for _ in 0..3 {
        replicas.push(Replica::start(&plane, &namespace, false).await);
    }
    // All at once, as at the first start; none leads yet.
    let looks = replicas.iter_mut().map(|replica| replica.look(now));
    for result in futures_util::future::join_all(looks).await {
        result.expect("a certificate");
    }
    assert!(
        replicas
            .iter()
            .all(|replica| replica.certificates.current.is_there())
    );
    assert!(
        replicas
            .iter()
            .all(|replica| replica.bundle() == replicas[0].bundle())
    );
    assert_eq!(replicas[0].authorities(), 1);
    assert_eq!(stored.bundle().await, None, "nobody leads, nobody publishes");

    replicas[1].leadership.send_replace(Leadership::Leading);
    replicas[1].look(now).await.expect("published");
    assert_eq!(stored.bundle().await, Some(replicas[0].bundle()));

    let versions = stored.versions().await;
    for replica in &mut replicas {
        replica.look(now).await.expect("nothing to do");
    }
    assert_eq!(stored.versions().await, versions, "a second look writes nothing");

    // Edited by hand: restored.
    let patch = r#"{"data":{"ca.crt":"mine"}}"#;
    namespace
        .kubectl(&["patch", "configmap", BUNDLE_CONFIG_MAP, "-p", patch])
        .await
        .success();
    replicas[0].look(now).await.expect("a look");
    assert_eq!(
        stored.bundle().await.as_deref(),
        Some("mine"),
        "not by one that does not lead"
    );
    replicas[1].look(now).await.expect("a look");
    assert_eq!(stored.bundle().await, Some(replicas[1].bundle()));
}

#[tokio::test]
async fn an_authority_is_replaced_without_a_gap() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("certificates").await;
    let stored = Stored::of(&plane, &namespace).await;
    let mut leader = Replica::start(&plane, &namespace, true).await;
    let mut follower = Replica::start(&plane, &namespace, false).await;
    let start = now();
    leader.look(start).await.expect("a first one");
    let first = leader.bundle();

    let due = start + CA_LIFE * 2 / 3 + DAY;
    leader.look(due).await.expect("a second one");
    assert_eq!(leader.authorities(), 2);
    assert!(leader.bundle().starts_with(&first), "the old one signs still");
    assert_eq!(
        stored.bundle().await,
        Some(leader.bundle()),
        "published before it signs"
    );
    let leaf = stored.leaf().await;
    leader.look(due + PUBLISH_FIRST - 1).await.expect("nothing to do");
    assert_eq!(stored.leaf().await, leaf);
    leader
        .look(due + PUBLISH_FIRST)
        .await
        .expect("the second one signs");
    assert_ne!(stored.leaf().await, leaf);
    assert!(
        !leader.bundle().starts_with(&first) && leader.bundle().contains(&first),
        "both are trusted"
    );

    follower.look(due + PUBLISH_FIRST).await.expect("the same");
    assert_eq!(follower.bundle(), leader.bundle());
    assert_eq!(
        *follower.certificates.health.borrow(),
        *leader.certificates.health.borrow()
    );
}

#[tokio::test]
async fn what_somebody_broke_is_repaired_by_the_leader() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("certificates").await;
    let stored = Stored::of(&plane, &namespace).await;
    let mut leader = Replica::start(&plane, &namespace, true).await;
    let mut follower = Replica::start(&plane, &namespace, false).await;
    let now = now();
    leader.look(now).await.expect("a first one");
    follower.look(now).await.expect("the same");
    let first = leader.bundle();

    stored.edit(&namespace, "tls.crt", "hello").await;
    let error = follower.look(now).await.expect_err("no certificate");
    assert!(
        error.contains("no usable server certificate") && error.contains("leading replica"),
        "{error}"
    );
    assert!(
        follower.certificates.current.is_there(),
        "what it had is still shown"
    );
    leader.look(now).await.expect("repaired");
    follower.look(now).await.expect("repaired");
    assert_eq!(leader.bundle(), first, "the authority stayed");

    stored.edit(&namespace, "ca.key", "hello").await;
    let error = follower.look(now).await.expect_err("no authority");
    assert!(
        error.contains("ca.key cannot be read") && error.contains("leading replica"),
        "{error}"
    );
    leader.look(now).await.expect("made anew");
    assert_ne!(leader.bundle(), first);
    assert_eq!(stored.bundle().await, Some(leader.bundle()));

    namespace.kubectl(&["delete", "secret", SECRET]).await.success();
    leader.look(now).await.expect("made anew");
    assert_eq!(stored.bundle().await, Some(leader.bundle()));
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("certificates").await;
    let create = [
        "create",
        "secret",
        "generic",
        SECRET,
        "--from-literal=ca.crt=mine",
    ];
    namespace.kubectl(&create).await.success();
    let stored = Stored::of(&plane, &namespace).await;
    let mut leader = Replica::start(&plane, &namespace, true).await;
    let error = leader.look(now()).await.expect_err("not ours");
    assert!(
        error.contains("not the operator's own") && error.contains("delete it"),
        "{error}"
    );
    let secret = stored.secrets.get(SECRET).await.expect("the Secret");
    assert_eq!(secret.data.expect("data")["ca.crt"].0, b"mine");
    assert!(!leader.certificates.current.is_there());
}

/// A cluster that was switched off for longer than its certificates live: they are made anew without anybody's help, and
/// the API server and proxies go on.
#[tokio::test]
async fn certificates_that_ended_while_nobody_was_there_are_made_anew() {
    // Of its own: what fails here would be in the way of everybody.
    let plane = ControlPlane::start().await;
    plane.apply_crds().await;
    let installation = Installation::on(&plane, "asleep").await;
    let system = installation.system.name();
    let port = free_port();
    let (listen, url) = (format!("127.0.0.1:{port}"), format!("https://127.0.0.1:{port}"));
    let config = CertificateConfig {
        extra_names: vec!["127.0.0.1".into()],
        ..CertificateConfig::new(system)
    };
    let ended = Material::afresh(config.names(), now() - CA_LIFE - DAY).expect("certificates");
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.into()),
            labels: Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(ended.write()),
        ..Secret::default()
    };
    let secrets = installation.secrets().await;
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .expect("created");
    // As it was left: registered with the authority that has ended.
    let registered = configuration(&WebhookOptions {
        name: format!("landbridge-{system}"),
        target: Target::Url(url.clone()),
        ca_bundle: ended.bundle().into_bytes(),
        fail_closed: true,
        install_namespace: system.to_owned(),
    });
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(installation.plane.client().await);
    let manager = PatchParams::apply("landbridge-operator/admission").force();
    webhooks
        .patch(
            registered.metadata.name.as_deref().expect("a name"),
            &manager,
            &Patch::Apply(&registered),
        )
        .await
        .expect("registered");

    let options = [
        "--webhook-listen",
        &listen,
        "--webhook-url",
        &url,
        "--webhook-fail-closed",
    ];
    let operator = installation.operator("operator", &options).await;
    let _proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("asleep").await;
    let good = r#"{"apiVersion":"destination.connectivity.api.sap/v1","kind":"Destination","metadata":{"name":"erp"},
        "spec":{"destinationRef":{"name":"erp"}}}"#;
    eventually("the API server trusts the webhook again", async || {
        let ended = workspace.namespace.apply(good).await;
        if ended.code == Some(0) {
            Ok(())
        } else {
            Err(ended.stderr)
        }
    })
    .await;
    let renewed = secrets.get(SECRET).await.expect("the Secret").data.expect("data");
    assert_ne!(renewed["ca.crt"].0, ended.bundle().into_bytes());
    assert!(operator.process.log().contains("certificates renewed"));
}
