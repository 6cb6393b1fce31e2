//! The object that tells the API server to ask.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, ServiceReference, ValidatingWebhook, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use kube::Resource;
use landbridge_crds::{Destination, ServiceChannel, ServiceMapping};

use super::{DEADLINE, PATH};
use crate::cluster::children::INSTALLATION_LABEL;

/// Label that the API server puts on each namespace.
pub(crate) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Namespaces of the cluster itself.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Where the API server finds the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
    },
    /// `https://host:port`, for an operator outside of the cluster.
    Url(String),
}

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookOptions {
    /// Name of the object.
    pub name: String,
    /// Where the webhook is.
    pub target: Target,
    /// Certificates, PEM, that its own is checked against.
    pub ca_bundle: Vec<u8>,
    /// Refuse everything while the webhook is away. Without, it is passed over then, and the status says what is wrong.
    pub fail_closed: bool,
    /// The operator's own namespace, where it must be able to mend itself.
    pub install_namespace: String,
}

/// The object, for server-side apply.
pub fn configuration(options: &WebhookOptions) -> ValidatingWebhookConfiguration {
    let webhook = ValidatingWebhook {
        name: "validate.connectivity.landbridge.dev".to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: WebhookClientConfig {
            ca_bundle: Some(ByteString(options.ca_bundle.clone())),
            ..client_config(&options.target, PATH)
        },
        failure_policy: Some(if options.fail_closed { "Fail" } else { "Ignore" }.to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        // For objects of a namespace; those of the cluster are always looked at.
        namespace_selector: Some(LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: NAMESPACE_NAME.to_owned(),
                operator: "NotIn".to_owned(),
                values: Some(excluded_namespaces(&options.install_namespace)),
            }]),
            match_labels: None,
        }),
        rules: Some(vec![
            rule::<Destination>("Namespaced"),
            rule::<ServiceChannel>("Namespaced"),
            rule::<ServiceMapping>("Cluster"),
        ]),
        // Deletions are never refused, and neither is what ends them: without this, nobody could take a finalizer away while
        // the webhook is needed and no operator is there.
        match_conditions: Some(vec![MatchCondition {
            name: "not-being-deleted".to_owned(),
            expression: "!has(object.metadata.deletionTimestamp)".to_owned(),
        }]),
        side_effects: "None".to_owned(),
        timeout_seconds: i32::try_from(DEADLINE.as_secs()).ok(),
        ..ValidatingWebhook::default()
    };
    // Not app.kubernetes.io/managed-by: where a chart has made the object, that is Helm's, and Helm no longer knows it as its
    // own when somebody writes another value.
    let labels = [(INSTALLATION_LABEL.to_owned(), options.install_namespace.clone())];
    ValidatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(options.name.clone()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        webhooks: Some(vec![webhook]),
    }
}

/// Namespaces where nothing of ours may be in the way: those of the cluster itself and the operator's own.
pub(crate) fn excluded_namespaces(install_namespace: &str) -> Vec<String> {
    SYSTEM_NAMESPACES
        .into_iter()
        .chain([install_namespace])
        .map(str::to_owned)
        .collect()
}

/// Where the API server asks; whom it trusts there is the caller's to add.
pub(crate) fn client_config(target: &Target, path: &str) -> WebhookClientConfig {
    let mut config = WebhookClientConfig::default();
    match target {
        Target::Service {
            namespace,
            name,
            port,
        } => {
            config.service = Some(ServiceReference {
                namespace: namespace.clone(),
                name: name.clone(),
                path: Some(path.to_owned()),
                port: Some(i32::from(*port)),
            });
        }
        Target::Url(url) => config.url = Some(format!("{}{path}", url.trim_end_matches('/'))),
    }
    config
}

/// Deletions are not asked about: they are never refused.
fn rule<K: Resource<DynamicType = ()>>(scope: &str) -> RuleWithOperations {
    RuleWithOperations {
        api_groups: Some(vec![K::group(&()).into_owned()]),
        api_versions: Some(vec![K::version(&()).into_owned()]),
        operations: Some(vec!["CREATE".to_owned(), "UPDATE".to_owned()]),
        resources: Some(vec![K::plural(&()).into_owned()]),
        scope: Some(scope.to_owned()),
    }
}
