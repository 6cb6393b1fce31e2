//! Injection in the cluster: its view of namespaces, its registration, and what is told of pods.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use futures_util::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;

use super::client::within;
use super::metrics::OperatorMetrics;
use super::webhook::Registration;
use crate::admission::Target;
use crate::cluster::watch as cluster_watch;
use crate::injection::configuration::{InjectionWebhookOptions, configuration};
use crate::injection::decide::NamespaceLabels;
use crate::injection::metrics::InjectionMetrics;
use crate::injection::namespaces::{Namespaces, labels_of};
use crate::injection::options::SidecarOptions;
use crate::injection::{Injector, View, router};

/// Field manager of the registration.
const MANAGER: &str = "landbridge-operator/injection";

/// Deadline of a question about a namespace: the API server waits 5 s for the whole answer.
const ASK: Duration = Duration::from_secs(2);

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectionConfig {
    /// What is put into pods.
    pub sidecar: SidecarOptions,
    /// Refuse pods that want the sidecar while the webhook does not answer.
    pub fail_closed: bool,
}

/// What injection knows beside the request.
struct ClusterView {
    namespaces: Namespaces,
    client: Client,
    bundle: watch::Receiver<Bytes>,
}

impl View for ClusterView {
    fn known(&self, namespace: &str) -> Option<NamespaceLabels> {
        self.namespaces.get(namespace)
    }

    async fn ask(&self, namespace: &str) -> Option<NamespaceLabels> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match within(ASK, api.get_metadata(namespace)).await {
            Ok(metadata) => Some(labels_of(&metadata)),
            Err(error) => {
                tracing::warn!(namespace, "the labels of a namespace cannot be read: {error}");
                None
            }
        }
    }

    fn authority(&self) -> Bytes {
        self.bundle.borrow().clone()
    }
}

/// The webhook, and the watch that it goes by.
pub(super) fn webhook(
    config: &InjectionConfig,
    client: &Client,
    bundle: watch::Receiver<Bytes>,
    metrics: (InjectionMetrics, OperatorMetrics),
) -> (Router, impl Future<Output = ()> + Send + 'static) {
    let namespaces = Namespaces::default();
    let (counts, operator) = metrics;
    let injector = Injector {
        options: config.sidecar.clone(),
        view: ClusterView {
            namespaces: namespaces.clone(),
            client: client.clone(),
            bundle,
        },
        metrics: counts,
    };
    let watch = follow(client.clone(), namespaces, operator);
    (router(Arc::new(injector)), watch)
}

/// Metadata alone. Until the first list is there, each question goes to the API server.
async fn follow(client: Client, namespaces: Namespaces, metrics: OperatorMetrics) {
    let api: Api<DeserializeGuard<PartialObjectMeta<Namespace>>> = Api::all(client);
    let seen = cluster_watch::watch(api, watcher::Config::default(), move |failure| {
        metrics.watch_failed(&failure.kind);
    });
    seen.for_each(|seen| {
        namespaces.see(seen);
        std::future::ready(())
    })
    .await;
}

/// How the webhook is registered.
pub(super) fn registration(
    config: &InjectionConfig,
    namespace: &str,
    labelled: bool,
    target: Target,
) -> Registration<MutatingWebhookConfiguration> {
    let (namespace, fail_closed) = (namespace.to_owned(), config.fail_closed);
    Registration {
        manager: MANAGER,
        what: "injection webhook",
        wanted: Box::new(move |authorities| {
            configuration(&InjectionWebhookOptions {
                name: format!("landbridge-{namespace}"),
                target: target.clone(),
                ca_bundle: authorities.to_vec(),
                fail_closed,
                install_namespace: namespace.clone(),
                labelled,
            })
        }),
    }
}
