//! Injection: pods that want it get the sidecar when they are created.
//!
//! In the order the data flows: [`configuration`] has the API server ask, [`namespaces`] knows what a request does not
//! say, [`mod@decide`] decides (with [`options`], [`overrides`]), `pod` writes the patch, [`sighting`] sees in the
//! watch of pods what became of them, [`report`] tells people and ends pods whose redirection failed.
//!
//! The webhook changes nothing but the pod that it is asked about. Whoever reaches its port can ask; so Events, which
//! people trust, come from pods that the API server has stored.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};

use crate::admission::review;

pub mod configuration;
pub mod decide;
pub mod metrics;
pub mod namespaces;
pub mod options;
pub mod overrides;
mod pod;
pub mod quantity;
pub mod report;
pub mod sighting;

use decide::{Asked, Decision, NamespaceLabels, Wish, decide, wish};
use metrics::{InjectionMetrics, Outcome};
use options::SidecarOptions;

/// Path that the API server posts to.
pub const PATH: &str = "/inject";

/// Label of a namespace, label or annotation of a pod.
pub const INJECT: &str = "connectivity.landbridge.dev/inject";

/// Its values that ask for the sidecar, on namespaces and on pods alike: a namespace with the word for pods would
/// otherwise be silently without.
pub const OPTED_IN: [&str; 2] = ["enabled", "true"];

/// Its values that ask for none.
pub const OPTED_OUT: [&str; 2] = ["disabled", "false"];

/// Annotation of a pod that has the sidecar: image, version of the operator, installation; JSON.
pub const INJECTED: &str = "connectivity.landbridge.dev/injected";

/// Annotation of a pod that was to have the sidecar and has not: reason, installation; JSON.
pub const SKIPPED: &str = "connectivity.landbridge.dev/injection-skipped";

/// The container that redirects connections, and ends.
pub const REDIRECT_CONTAINER: &str = "landbridge-redirect";

/// The container that serves them.
pub const PROXY_CONTAINER: &str = "landbridge-proxy";

/// Port of the sidecar's probes and figures.
pub const ADMIN_PORT: u16 = 20412;

/// Volume with the token that says who the pod is.
pub const TOKEN_VOLUME: &str = "landbridge-token";

/// Volume of what the sidecar knows.
pub const STATE_VOLUME: &str = "landbridge-state";

/// Audience of that token.
const TOKEN_AUDIENCE: &str = landbridge_destination::serve::AUDIENCE;

/// What all reasons end with.
const GATEWAYS: &str = "Its calls go through the gateways, which need nothing in the pod.";

/// What is known beside the request.
pub trait View: Send + Sync + 'static {
    /// Labels of a namespace, from memory.
    fn known(&self, namespace: &str) -> Option<NamespaceLabels>;

    /// The same, asked of the API server, in at most two seconds.
    fn ask(&self, namespace: &str) -> impl Future<Output = Option<NamespaceLabels>> + Send;

    /// What the operator's certificate is checked against, PEM; empty while there is none.
    fn authority(&self) -> Bytes;
}

/// The webhook.
pub struct Injector<V> {
    /// What is put into pods.
    pub options: SidecarOptions,
    /// What is known beside the request.
    pub view: V,
    /// Counts.
    pub metrics: InjectionMetrics,
}

/// `POST /inject`. TLS and the number of connections are the server's to look after.
pub fn router<V: View>(injector: Arc<Injector<V>>) -> Router {
    Router::new().route(PATH, post(inject::<V>)).with_state(injector)
}

async fn inject<V: View>(State(injector): State<Arc<Injector<V>>>, body: Body) -> Response {
    review::answer(body, async |request| injector.respond(&request).await).await
}

impl<V: View> Injector<V> {
    /// The answer; a pod is always allowed.
    async fn respond(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let response = AdmissionResponse::from(request);
        let whole = request.sub_resource.as_deref().is_none_or(str::is_empty);
        let (Operation::Create, true, "Pod", Some(object)) = (
            &request.operation,
            whole,
            request.kind.kind.as_str(),
            &request.object,
        ) else {
            return response;
        };
        let pod = match typed(object) {
            Ok(pod) => pod,
            Err(error) => {
                return warned(
                    response,
                    vec![format!("no Landbridge sidecar, the pod cannot be read: {error}")],
                );
            }
        };
        let namespace = self
            .labels(request.namespace.as_deref().unwrap_or_default(), &pod)
            .await;
        let authority = self.view.authority();
        let authority = std::str::from_utf8(&authority).unwrap_or_default();
        let asked = Asked {
            pod: &pod,
            namespace: namespace.as_ref(),
            options: &self.options,
            authority: !authority.is_empty(),
        };
        match decide(&asked) {
            Decision::Unchanged(_) => {
                self.metrics.decided(Outcome::Unchanged);
                response
            }
            Decision::Skipped(reason) => {
                self.metrics.decided(Outcome::Skipped);
                let reason = format!("{reason}. {GATEWAYS}");
                let patch = pod::skip(object, &reason, &self.options.installation);
                warned(
                    patched(response, patch),
                    vec![format!("no Landbridge sidecar: {reason}")],
                )
            }
            Decision::Inject(options, warnings) => {
                self.metrics.decided(Outcome::Injected);
                let patch = pod::inject(object, &options, authority);
                warned(patched(response, Some(patch)), warnings)
            }
        }
    }

    /// Asks the API server only where memory does not explain why it asks us: the watch may be a moment behind.
    async fn labels(&self, namespace: &str, pod: &Pod) -> Option<NamespaceLabels> {
        let known = self.view.known(namespace);
        let explained = match wish(pod) {
            Wish::No => true,
            Wish::Yes => known.is_some(),
            Wish::None | Wish::Unclear(_) => known.as_ref().is_some_and(|labels| labels.opted_in),
        };
        if explained {
            return known;
        }
        self.view.ask(namespace).await.or(known)
    }
}

fn typed(object: &DynamicObject) -> Result<Pod, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(object)?)
}

fn patched(response: AdmissionResponse, patch: Option<json_patch::Patch>) -> AdmissionResponse {
    let Some(patch) = patch else {
        return response;
    };
    match response.clone().with_patch(patch) {
        Ok(patched) => patched,
        Err(error) => warned(response, vec![format!("no Landbridge sidecar: {error}")]),
    }
}

fn warned(mut response: AdmissionResponse, warnings: Vec<String>) -> AdmissionResponse {
    if !warnings.is_empty() {
        response.warnings.get_or_insert_default().extend(warnings);
    }
    response
}

#[cfg(test)]
mod tests;
