//! Proxies of nodes, and sidecars. What is not switched on is not spoken of.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::DaemonSet;

use super::super::facts::{Installed, Listing, Read};
use super::super::{Finding, Options, Trouble, catalogue as checks};
use super::operator::end_of;
use super::{cluster, named};
use crate::certificates::BUNDLE_KEY;
use crate::injection::decide::forbids_net_admin;

/// All findings.
pub(super) fn of(facts: &Installed, options: &Options) -> Vec<Finding> {
    let interception = &facts.interception;
    let mut findings = Vec::new();
    match &interception.nodes {
        Err(Trouble::Missing) => {}
        nodes => findings.push(self::nodes(nodes, facts, options)),
    }
    if let Some(webhook) = &interception.webhook {
        findings.push(registered(webhook, facts, options));
    }
    if let Some(namespaces) = &interception.namespaces {
        findings.push(self::namespaces(namespaces));
    }
    findings
}

fn nodes(nodes: &Read<DaemonSet>, facts: &Installed, options: &Options) -> Finding {
    let entry = checks::NODES_READY;
    let namespace = &options.namespace;
    let status = match nodes {
        Ok(nodes) => nodes.status.clone().unwrap_or_default(),
        Err(trouble) => return entry.unknown(trouble, "try again"),
    };
    let (wanted, ready) = (status.desired_number_scheduled, status.number_ready);
    let message = format!("on {ready} of {wanted} nodes");
    if wanted == 0 {
        return entry.warning(
            "no node is to have one",
            "look at node.nodeSelector, node.affinity and node.tolerations of the chart",
        );
    }
    if ready >= wanted {
        return entry.ok(message);
    }
    // Pods that are refused are nowhere to be seen: only Events of the DaemonSet tell it.
    let level = facts
        .cluster
        .namespace
        .as_ref()
        .ok()
        .and_then(cluster::pod_security);
    let remedy = match level {
        Some(level) if forbids_net_admin(level) => format!(
            "its Pod Security level {level} forbids them: kubectl label namespace {namespace} {}=privileged --overwrite",
            cluster::POD_SECURITY
        ),
        _ => {
            format!("kubectl describe daemonset landbridge-node -n {namespace}, then its pods and their logs")
        }
    };
    match ready {
        0 => entry.failed(message, remedy),
        _ => entry.warning(message, remedy),
    }
}

fn registered(
    registration: &Read<MutatingWebhookConfiguration>,
    facts: &Installed,
    options: &Options,
) -> Finding {
    let entry = checks::INJECTION_REGISTERED;
    let name = format!("landbridge-{}", options.namespace);
    let logs = format!(
        "kubectl logs -n {} -l app.kubernetes.io/component=operator",
        options.namespace
    );
    let registration = match registration {
        Ok(registration) => registration,
        Err(Trouble::Missing) => {
            return entry.failed(
                format_args!("there is no MutatingWebhookConfiguration {name}: no operator leads, or it has no right to create it"),
                logs,
            );
        }
        Err(trouble) => return entry.unknown(trouble, "try again"),
    };
    let Some(bundle) = bundle(registration) else {
        return entry.failed(
            format_args!("{name} is there, and the operator has not filled it"),
            logs,
        );
    };
    let restart = format!(
        "kubectl rollout restart deployment/landbridge-operator -n {}",
        options.namespace
    );
    let known = facts
        .authorities
        .as_ref()
        .ok()
        .and_then(|map| map.data.as_ref()?.get(BUNDLE_KEY));
    if known.is_some_and(|known| certificates(known).is_disjoint(&certificates(&bundle))) {
        return entry.failed(
            format_args!("{name} trusts none of the operator's authorities (ConfigMap landbridge-ca)"),
            restart,
        );
    }
    match end_of(&bundle, facts.now) {
        Ok(days) => entry.ok(format_args!("{name}, for {days} days")),
        Err((true, why)) => entry.warning(why, restart),
        Err((false, why)) => entry.failed(why, restart),
    }
}

fn bundle(registration: &MutatingWebhookConfiguration) -> Option<String> {
    let webhook = registration.webhooks.as_ref()?.first()?;
    let bundle = &webhook.client_config.ca_bundle.as_ref()?.0;
    Some(String::from_utf8_lossy(bundle).into_owned())
}

/// The certificates of a PEM text as they are written, without what is around them.
fn certificates(pem: &str) -> BTreeSet<String> {
    let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = blocks.filter_map(|block| block.split_once("-----END CERTIFICATE-----"));
    bodies
        .map(|(body, _)| body.split_whitespace().collect())
        .collect()
}

fn namespaces(facts: &Read<Listing>) -> Finding {
    let entry = checks::INJECTION_NAMESPACES;
    match facts {
        Ok(listing) if listing.bad == 0 => entry.ok(format_args!("{} have opted in", listing.total)),
        Ok(listing) => entry.warning(
            format_args!(
                "{} of {} enforce a level that forbids sidecars: {}",
                listing.bad,
                listing.total,
                named(listing.bad, &listing.examples)
            ),
            format_args!(
                "kubectl label namespace NAME {}=privileged --overwrite; or take the label {} away, and leave their pods to \
                 the gateways",
                cluster::POD_SECURITY,
                crate::injection::INJECT
            ),
        ),
        Err(trouble) => entry.unknown(trouble, "try again"),
    }
}
