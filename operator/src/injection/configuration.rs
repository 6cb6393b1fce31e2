//! The object that tells the API server to ask about pods: about those that want the sidecar, and no others.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};

use super::{INJECT, OPTED_IN, OPTED_OUT, PATH};
use crate::admission::{DEADLINE, NAMESPACE_NAME, Target, client_config, excluded_namespaces};
use crate::cluster::NAMESPACE_LABEL;
use crate::cluster::children::INSTALLATION_LABEL;

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectionWebhookOptions {
    /// Name of the object.
    pub name: String,
    /// Where the webhook is.
    pub target: Target,
    /// Certificates, PEM, that its own is checked against.
    pub ca_bundle: Vec<u8>,
    /// Refuse pods that want the sidecar while the webhook is away. Without, they start without it.
    pub fail_closed: bool,
    /// The operator's own namespace, whose pods never get the sidecar.
    pub install_namespace: String,
    /// Whether only the namespaces with the installation's label are looked after.
    pub labelled: bool,
}

/// The object, for server-side apply.
pub fn configuration(options: &InjectionWebhookOptions) -> MutatingWebhookConfiguration {
    let opted_in = OPTED_IN.map(str::to_owned).to_vec();
    let by_namespace = MutatingWebhook {
        name: "namespace.inject.connectivity.landbridge.dev".to_owned(),
        namespace_selector: Some(namespaces(options, "In")),
        // What opts out by its annotation is asked about, and left alone.
        object_selector: Some(LabelSelector {
            match_expressions: Some(vec![requirement(
                INJECT,
                "NotIn",
                OPTED_OUT.map(str::to_owned).to_vec(),
            )]),
            match_labels: None,
        }),
        ..webhook(options)
    };
    let wanted = |part: &str| {
        format!(
            "(has(object.metadata.{part}) && '{INJECT}' in object.metadata.{part} && object.metadata.{part}['{INJECT}'] in \
             ['{}'])",
            opted_in.join("','")
        )
    };
    let by_pod = MutatingWebhook {
        name: "pod.inject.connectivity.landbridge.dev".to_owned(),
        namespace_selector: Some(namespaces(options, "NotIn")),
        // Not an object selector: that sees no annotations. The API server decides this without asking anybody.
        match_conditions: Some(vec![MatchCondition {
            name: "wanted".to_owned(),
            expression: format!("{} || {}", wanted("labels"), wanted("annotations")),
        }]),
        ..webhook(options)
    };
    let labels = [(INSTALLATION_LABEL.to_owned(), options.install_namespace.clone())];
    MutatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(options.name.clone()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        webhooks: Some(vec![by_namespace, by_pod]),
    }
}

/// What both have in common.
fn webhook(options: &InjectionWebhookOptions) -> MutatingWebhook {
    MutatingWebhook {
        admission_review_versions: vec!["v1".to_owned()],
        client_config: WebhookClientConfig {
            ca_bundle: Some(ByteString(options.ca_bundle.clone())),
            ..client_config(&options.target, PATH)
        },
        failure_policy: Some(if options.fail_closed { "Fail" } else { "Ignore" }.to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        // Another webhook may be what makes a pod ask for the sidecar, or fit for it.
        reinvocation_policy: Some("IfNeeded".to_owned()),
        rules: Some(vec![RuleWithOperations {
            api_groups: Some(vec![String::new()]),
            api_versions: Some(vec!["v1".to_owned()]),
            operations: Some(vec!["CREATE".to_owned()]),
            resources: Some(vec!["pods".to_owned()]),
            scope: Some("Namespaced".to_owned()),
        }]),
        // Events are written when the pod is there, not when it is asked about.
        side_effects: "None".to_owned(),
        timeout_seconds: i32::try_from(DEADLINE.as_secs()).ok(),
        ..MutatingWebhook::default()
    }
}

/// Namespaces that may have the sidecar, and have opted in (`In`) or have not (`NotIn`).
fn namespaces(options: &InjectionWebhookOptions, opted_in: &str) -> LabelSelector {
    let ours = [(NAMESPACE_LABEL.to_owned(), options.install_namespace.clone())];
    LabelSelector {
        match_expressions: Some(vec![
            requirement(
                NAMESPACE_NAME,
                "NotIn",
                excluded_namespaces(&options.install_namespace),
            ),
            requirement(INJECT, opted_in, OPTED_IN.map(str::to_owned).to_vec()),
        ]),
        match_labels: options.labelled.then(|| ours.into()),
    }
}

fn requirement(key: &str, operator: &str, values: Vec<String>) -> LabelSelectorRequirement {
    LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> InjectionWebhookOptions {
        InjectionWebhookOptions {
            name: "landbridge-system".into(),
            target: Target::Service {
                namespace: "system".into(),
                name: "landbridge-operator".into(),
                port: 443,
            },
            ca_bundle: b"pem".to_vec(),
            fail_closed: false,
            install_namespace: "system".into(),
            labelled: false,
        }
    }

    #[test]
    fn the_api_server_asks_about_pods_that_want_it_and_no_others() {
        let object = serde_json::to_value(configuration(&options())).unwrap();
        assert_eq!(object["metadata"]["labels"][INSTALLATION_LABEL], "system");
        let both = object["webhooks"].as_array().unwrap();
        assert_eq!(both.len(), 2);
        for webhook in both {
            assert_eq!(webhook["failurePolicy"], "Ignore");
            assert_eq!(webhook["reinvocationPolicy"], "IfNeeded");
            assert_eq!(webhook["clientConfig"]["service"]["path"], "/inject");
            assert_eq!(webhook["rules"][0]["operations"], serde_json::json!(["CREATE"]));
            let selector = &webhook["namespaceSelector"];
            assert_eq!(
                selector["matchExpressions"][0]["values"],
                serde_json::json!(["kube-system", "kube-public", "kube-node-lease", "system"])
            );
            assert!(selector.get("matchLabels").is_none());
        }
        assert_eq!(
            both[0]["namespaceSelector"]["matchExpressions"][1]["operator"],
            "In"
        );
        assert_eq!(
            both[1]["namespaceSelector"]["matchExpressions"][1]["operator"],
            "NotIn"
        );
        let condition = both[1]["matchConditions"][0]["expression"].as_str().unwrap();
        assert!(condition.contains(
            "object.metadata.annotations['connectivity.landbridge.dev/inject'] in ['enabled','true']"
        ));
    }

    #[test]
    fn one_of_several_installations_asks_for_its_own_namespaces() {
        let object = configuration(&InjectionWebhookOptions {
            labelled: true,
            fail_closed: true,
            ..options()
        });
        for webhook in object.webhooks.unwrap() {
            let labels = webhook.namespace_selector.unwrap().match_labels.unwrap();
            assert_eq!(labels[NAMESPACE_LABEL], "system");
            assert_eq!(webhook.failure_policy.as_deref(), Some("Fail"));
        }
    }
}
