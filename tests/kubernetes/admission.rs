//! The webhook, asked by a real API server.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use landbridge_destination::channel::ChannelKey;
use landbridge_operator::admission::{self, Target, View, WebhookOptions};
use landbridge_operator::channels::Declared;
use landbridge_tests::control_plane::{ControlPlane, Namespace};
use landbridge_tests::eventually;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One foreign Service, one instance, one claimed channel.
struct Known;

impl View for Known {
    fn has_foreign_service(&self, _: &str, name: &str) -> bool {
        name == "taken"
    }

    fn instances(&self) -> Option<Vec<String>> {
        Some(vec!["first".into()])
    }

    fn claimed(&self, channel: &Declared) -> Option<ChannelKey> {
        let wanted = channel.wanted.as_ref().ok()?;
        (wanted.service_id == "claimed").then(|| ChannelKey {
            namespace: None,
            name: "owner".into(),
        })
    }

    fn same_claim(&self, one: &Declared, other: &Declared) -> bool {
        one.wanted == other.wanted
    }

    fn objection(&self, _: &Declared) -> Option<String> {
        None
    }
}

/// Serves the router with a certificate of its own; returns its URL and that certificate.
async fn serve() -> (String, Vec<u8>) {
    landbridge_runtime::tls::install_provider();
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a configuration");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let router = admission::router(Arc::new(Known));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                }
            });
        }
    });
    (format!("https://127.0.0.1:{port}"), own.cert.pem().into_bytes())
}

/// Has the API server ask, about this namespace alone: other tests declare what this webhook refuses.
async fn install(plane: &ControlPlane, namespace: &Namespace) {
    let (url, ca_bundle) = serve().await;
    let name = format!("landbridge-{}", namespace.name());
    let mut configuration = admission::configuration(&WebhookOptions {
        name: name.clone(),
        target: Target::Url(url),
        ca_bundle,
        // A webhook that is passed over would prove nothing.
        fail_closed: true,
        install_namespace: "landbridge".into(),
    });
    for webhook in configuration.webhooks.iter_mut().flatten() {
        let labels = [(
            "kubernetes.io/metadata.name".to_owned(),
            namespace.name().to_owned(),
        )];
        webhook
            .namespace_selector
            .as_mut()
            .expect("a selector")
            .match_labels = Some(labels.into());
        // No selector keeps those of the cluster apart.
        webhook
            .rules
            .as_mut()
            .expect("rules")
            .retain(|rule| rule.scope.as_deref() == Some("Namespaced"));
    }
    let api: kube::Api<ValidatingWebhookConfiguration> = kube::Api::all(plane.client().await);
    let parameters = PatchParams::apply("tests").force();
    for _ in 0..2 {
        api.patch(&name, &parameters, &Patch::Apply(&configuration))
            .await
            .expect("the configuration");
    }
}

fn destination(name: &str) -> serde_json::Value {
    json!({"apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination", "metadata": {"name": name},
           "spec": {"destinationRef": {"name": "erp"}}})
}

fn channel(name: &str, service_id: &str) -> String {
    json!({"apiVersion": "connectivity.landbridge.dev/v1alpha1", "kind": "ServiceChannel", "metadata": {"name": name},
           "spec": {"type": "TCP", "serviceId": service_id, "serviceRef": {"name": "web", "port": 80}}})
    .to_string()
}

#[tokio::test]
async fn mistakes_are_refused_and_doubts_are_warnings() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let namespace = plane.namespace("admission").await;
    install(&plane, &namespace).await;
    // The API server takes a moment to notice the configuration.
    eventually("the webhook is asked", async || {
        let ended = namespace.apply(&destination("erp.eu").to_string()).await;
        if ended.code == Some(0) {
            namespace.kubectl(&["delete", "dst", "erp.eu"]).await.success();
            return Err("admitted".to_owned());
        }
        let said = ended.failure();
        if said.contains("cannot be the name of a Service") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;

    namespace.apply(&destination("erp").to_string()).await.success();
    let warned = namespace.apply(&destination("taken").to_string()).await;
    assert!(
        warned.stderr.contains("Warning: ") && warned.stderr.contains("did not make"),
        "{}",
        warned.stderr
    );
    warned.success();
    let mut other = destination("other");
    other["spec"]["destinationServiceInstanceName"] = json!("second");
    let warned = namespace.apply(&other.to_string()).await;
    assert!(warned.stderr.contains("known: first"), "{}", warned.stderr);
    warned.success();

    let said = namespace.apply(&channel("mine", "claimed")).await.failure();
    assert!(
        said.contains("the ServiceMapping owner has the same type"),
        "{said}"
    );
    namespace.apply(&channel("mine", "free")).await.success();
    // Into a duplicate, with a dry run, and out of the way.
    let dry = namespace.kubectl(&[
        "patch",
        "sch",
        "mine",
        "--type=merge",
        "--dry-run=server",
        "-p",
        r#"{"spec":{"serviceId":"claimed"}}"#,
    ]);
    assert!(dry.await.failure().contains("owner"));
    namespace
        .kubectl(&["label", "sch", "mine", "a=b"])
        .await
        .success();
    namespace.kubectl(&["delete", "sch,dst", "--all"]).await.success();
    let name = format!("landbridge-{}", namespace.name());
    plane
        .kubectl(&["delete", "validatingwebhookconfiguration", &name])
        .await
        .success();
}
