//! The operator, its certificates and its stores.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;

use super::super::facts::{Installed, KeyFact, PodFact, Read};
use super::super::{Finding, Options, Trouble, catalogue as checks};
use crate::certificates::{BUNDLE_CONFIG_MAP, BUNDLE_KEY, lives};
use crate::cluster::stores::{Instance, Source};

/// Name of the Deployment.
const DEPLOYMENT: &str = "landbridge-operator";

/// Part of `/status` that is the controller, under its published name (seed L36786).
const CONTROLLER: &str = "sap-transp-proxy-manager";

/// An authority that ends sooner should have been followed by another one: that is due with a third of its life left.
const SOON: i64 = 14 * 86_400;

/// Everything about the operator itself.
pub(super) fn of(facts: &Installed, options: &Options) -> Vec<Finding> {
    vec![
        ready(facts, options),
        lease(facts, options),
        controller(facts, options),
        certificates(facts),
        authorities(&facts.authorities, facts.now, options),
        versions(facts, options),
    ]
}

fn ready(facts: &Installed, options: &Options) -> Finding {
    let entry = checks::OPERATOR_READY;
    let namespace = &options.namespace;
    let deployment = match &facts.deployment {
        Ok(deployment) => deployment,
        Err(Trouble::Missing) => {
            return entry.failed(
                format_args!("there is no Deployment {DEPLOYMENT} in the namespace {namespace}"),
                format_args!(
                    "name the namespace of the installation with -n, or install it: helm install landbridge charts/landbridge -n {namespace}"
                ),
            );
        }
        Err(trouble) => return entry.unknown(trouble, "try again"),
    };
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let status = deployment.status.as_ref();
    let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
    let message = format!("{ready} of {wanted} replicas are ready{}", why(&facts.operators));
    let remedy = format!("kubectl describe pod -n {namespace} -l app.kubernetes.io/component=operator");
    match ready {
        0 => entry.failed(message, remedy),
        _ if ready < wanted => entry.warning(message, remedy),
        _ => entry.ok(message),
    }
}

/// What the first pod that is not ready waits for.
pub(super) fn why(pods: &Read<Vec<PodFact>>) -> String {
    let pods = pods.as_deref().unwrap_or_default();
    let reason = pods
        .iter()
        .filter(|pod| !pod.ready && !pod.ending)
        .find_map(|pod| {
            let reason = pod.waiting.as_ref().or(pod.pending.as_ref())?;
            Some(format!("; {}: {reason}", pod.name))
        });
    reason.unwrap_or_default()
}

fn lease(facts: &Installed, options: &Options) -> Finding {
    let entry = checks::OPERATOR_LEASE;
    let remedy = format!(
        "kubectl logs -n {} -l app.kubernetes.io/component=operator",
        options.namespace
    );
    match &facts.lease {
        Ok(lease) if lease.holder.is_empty() => entry.failed("nobody holds the Lease", remedy),
        Ok(lease) if !lease.fresh => entry.failed(
            format_args!("{} holds the Lease and does not renew it", lease.holder),
            remedy,
        ),
        Ok(lease) => entry.ok(&lease.holder),
        Err(Trouble::Missing) => entry.failed("there is no Lease: no operator has run here yet", remedy),
        Err(trouble) => entry.unknown(trouble, "try again"),
    }
}

fn controller(facts: &Installed, options: &Options) -> Finding {
    let entry = checks::CONTROLLER;
    if facts.operators.as_ref().is_ok_and(Vec::is_empty) {
        return entry.skipped("there is no pod of the operator");
    }
    let remedy = format!(
        "kubectl rollout restart deployment/{DEPLOYMENT} -n {}",
        options.namespace
    );
    match component(facts, CONTROLLER) {
        Ok("") => entry.ok("it answers"),
        Ok(problem) => entry.failed(problem, remedy),
        Err(trouble) => entry.unknown(
            &trouble,
            "let the API server reach port 9494 of the operator's pods",
        ),
    }
}

/// What is wrong with a part; empty is nothing.
fn component<'a>(facts: &'a Installed, name: &str) -> Result<&'a str, Trouble> {
    let status = facts.status.as_ref().map_err(Trouble::clone)?;
    let found = status.components.iter().find(|(known, _)| known == name);
    Ok(found.map_or("", |(_, problem)| problem))
}

fn certificates(facts: &Installed) -> Finding {
    let entry = checks::CERTIFICATES;
    match component(facts, "certificates") {
        Ok("") => entry.ok("nothing is due"),
        Ok(problem) => entry.failed(
            problem,
            "do what the message says; the operator goes on by itself",
        ),
        Err(_) => entry.skipped("the operator was not reached"),
    }
}

fn authorities(facts: &Read<ConfigMap>, now: i64, options: &Options) -> Finding {
    let entry = checks::AUTHORITIES;
    let remedy = format!(
        "kubectl logs -n {} -l app.kubernetes.io/component=operator",
        options.namespace
    );
    let map = match facts {
        Ok(map) => map,
        Err(Trouble::Missing) => {
            return entry.failed(
                format_args!("there is no ConfigMap {BUNDLE_CONFIG_MAP}: the operator has not written it"),
                remedy,
            );
        }
        Err(trouble) => return entry.unknown(trouble, "try again"),
    };
    let text = map.data.as_ref().and_then(|data| data.get(BUNDLE_KEY));
    match end_of(text.map_or("", String::as_str), now) {
        Ok(days) => entry.ok(format_args!(
            "in the ConfigMap {BUNDLE_CONFIG_MAP}, for {days} days"
        )),
        Err((true, why)) => entry.warning(format_args!("{BUNDLE_CONFIG_MAP}: {why}"), remedy),
        Err((false, why)) => entry.failed(format_args!("{BUNDLE_CONFIG_MAP}: {why}"), remedy),
    }
}

/// Days until the last of these authorities ends; or what is wrong, and whether they still count.
pub(super) fn end_of(pem: &str, now: i64) -> Result<i64, (bool, String)> {
    let lives = lives(pem).map_err(|error| (false, error.to_string()))?;
    let end = lives
        .iter()
        .filter(|life| life.from <= now)
        .map(|life| life.until)
        .max();
    match end {
        None => Err((false, "there is no authority in it".to_owned())),
        Some(end) if end <= now => Err((
            false,
            format!("its authority ended {} days ago", (now - end) / 86_400),
        )),
        Some(end) if end - now < SOON => Err((
            true,
            format!("its authority ends in {} days", (end - now) / 86_400),
        )),
        Some(end) => Ok((end - now) / 86_400),
    }
}

fn versions(facts: &Installed, options: &Options) -> Finding {
    let entry = checks::VERSIONS;
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (part, pods) in [("operator", &facts.operators), ("proxies", &facts.proxies)] {
        for version in pods.iter().flatten().filter_map(|pod| pod.version.as_ref().ok()) {
            seen.entry(version).or_default().insert(part);
        }
    }
    if seen.is_empty() {
        return entry.skipped("no pod tells its version");
    }
    seen.entry(options.version).or_default().insert("this program");
    if seen.len() == 1 {
        return entry.ok(options.version);
    }
    let parts: Vec<String> = seen
        .iter()
        .map(|(version, parts)| {
            let parts: Vec<&str> = parts.iter().copied().collect();
            format!("{}: {version}", parts.join(" and "))
        })
        .collect();
    entry.warning(
        parts.join(", "),
        "wait until an update has ended; else update all charts of the installation, and this program, to one version",
    )
}

/// Service keys, and whether what they lead to answers.
pub(super) fn stores(facts: &Installed, options: &Options) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts
        .misread
        .iter()
        .map(|why| checks::SERVICE_KEY.failed(why, "correct --destination-service of the operator"))
        .collect();
    findings.extend(
        facts
            .keys
            .iter()
            .map(|(instance, key)| service_key(instance, key)),
    );
    if findings.is_empty() {
        findings
            .push(checks::SERVICE_KEY.skipped("the Deployment of the operator does not name any instance"));
    }
    let answers: Vec<Finding> = match &facts.status {
        Ok(status) => status
            .components
            .iter()
            .filter_map(|(name, problem)| Some((name.strip_prefix("destination-service/")?, problem)))
            .map(|(name, problem)| store(name, problem, options))
            .collect(),
        Err(_) => vec![checks::STORE.skipped("the operator was not reached")],
    };
    findings.extend(answers);
    findings
}

fn store(name: &str, problem: &str, options: &Options) -> Finding {
    let entry = checks::STORE;
    if problem.is_empty() {
        return entry.ok(name);
    }
    entry.failed(
        format_args!("{name}: {problem}"),
        format_args!(
            "kubectl logs -n {} -l app.kubernetes.io/component=operator",
            options.namespace
        ),
    )
}

fn service_key(instance: &Instance, key: &Read<KeyFact>) -> Finding {
    let entry = checks::SERVICE_KEY;
    let (name, source) = (&instance.name, &instance.source);
    let remedy = match source {
        Source::File(path) => format!("mount the service key at {}", path.display()),
        Source::Secret { namespace, name, key } => format!(
            "kubectl create secret generic {name} -n {namespace} --from-file={}=service-key.json --dry-run=client -o yaml | kubectl apply -f -",
            key.as_deref().unwrap_or("service_key")
        ),
    };
    match key {
        Ok(KeyFact::Usable) => entry.ok(format_args!("{name}: {source}")),
        Ok(KeyFact::File) => entry.skipped(format_args!("{name}: in {source} of the operator's pod")),
        Ok(KeyFact::Malformed(why)) => entry.failed(format_args!("{name}: {source}: {why}"), remedy),
        Err(Trouble::Missing) => entry.failed(format_args!("{name}: {source} does not exist"), remedy),
        Err(trouble) => entry.unknown(trouble, "try again"),
    }
}
