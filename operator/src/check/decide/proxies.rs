//! The proxies, and the connectors that dial some of them.

use super::super::facts::{Installed, PodFact};
use super::super::{Finding, Options, catalogue as checks};
use super::operator::why;

/// All findings.
pub(super) fn of(facts: &Installed, options: &Options) -> Vec<Finding> {
    let mut findings = vec![ready(facts, options), connected(facts, options)];
    if !facts.connectors.is_empty() {
        findings.push(connectors(facts, options));
    }
    findings
}

fn ready(facts: &Installed, options: &Options) -> Finding {
    let entry = checks::PROXIES_READY;
    let namespace = &options.namespace;
    let pods: Vec<&PodFact> = match &facts.proxies {
        Ok(pods) => pods.iter().filter(|pod| !pod.ending).collect(),
        Err(trouble) => return entry.unknown(trouble, "try again"),
    };
    if pods.is_empty() {
        return entry.failed(
            format_args!("there are no proxy pods in the namespace {namespace}"),
            format_args!("kubectl get deployment landbridge-proxy -n {namespace}; proxy.enabled of the chart must be true"),
        );
    }
    let ready = pods.iter().filter(|pod| pod.ready).count();
    let message = format!("{ready} of {} are ready{}", pods.len(), why(&facts.proxies));
    let remedy = format!("kubectl describe pod -n {namespace} -l app.kubernetes.io/component=proxy");
    match ready {
        0 => entry.failed(message, remedy),
        _ if ready < pods.len() => entry.warning(message, remedy),
        _ => entry.ok(message),
    }
}

fn connected(facts: &Installed, options: &Options) -> Finding {
    let entry = checks::PROXIES_CONNECTED;
    let Ok(status) = &facts.status else {
        return entry.skipped("the operator was not reached");
    };
    let message = format!(
        "{} report to the operator, {} pods are ready",
        status.reporting, status.ready
    );
    let remedy = format!(
        "kubectl logs -n {} -l app.kubernetes.io/component=proxy",
        options.namespace
    );
    match status.reporting {
        0 => entry.failed(message, remedy),
        reporting if reporting < status.ready => entry.warning(message, remedy),
        _ => entry.ok(message),
    }
}

fn connectors(facts: &Installed, options: &Options) -> Finding {
    let entry = checks::CONNECTORS;
    let known: Vec<(&String, usize)> = facts
        .connectors
        .iter()
        .filter_map(|(pod, connections)| Some((pod, *connections.as_ref().ok()?)))
        .collect();
    if known.is_empty()
        && let Some(trouble) = facts.connectors.iter().find_map(|(_, fact)| fact.as_ref().err())
    {
        return entry.unknown(
            trouble,
            "let the API server reach port 9494 of the connectivity pods",
        );
    }
    let connections: usize = known.iter().map(|(_, connections)| connections).sum();
    if connections == 0 {
        let pod = facts.connectors.first().map_or("POD", |(pod, _)| pod);
        return entry.warning(
            "no connector is connected",
            format_args!(
                "start the connector and look at its log; a new one needs a token: kubectl exec -n {} {pod} -- landbridge tunnel \
                 create-token --connector NAME",
                options.namespace
            ),
        );
    }
    let parts: Vec<String> = known
        .iter()
        .map(|(pod, connections)| format!("{connections} at {pod}"))
        .collect();
    entry.ok(format_args!("connections: {}", parts.join(", ")))
}
