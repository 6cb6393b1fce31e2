//! The cluster and what surrounds an installation.

use k8s_openapi::api::core::v1::Namespace;

use super::super::{Entry, Finding, Options, Trouble, catalogue as checks};
use super::{Cluster, Read, named};

/// Oldest version: CEL rules in definitions are stable from here on.
const OLDEST: (u32, u32) = (1, 29);

/// Label by which a namespace says what its pods may do.
pub(super) const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";

/// What both phases look at first, and whether there is a cluster at all.
pub(super) fn of(facts: &Cluster, options: &Options, before: bool) -> (Vec<Finding>, bool) {
    let (major, minor, name) = match &facts.version {
        Ok(version) => version,
        Err(trouble) => return (vec![unreachable(trouble)], false),
    };
    let mut findings = vec![checks::API_SERVER.ok(format_args!("Kubernetes {name}"))];
    let version = if (*major, *minor) < OLDEST {
        checks::VERSION.failed(
            format_args!(
                "{name} is older than {}.{}, from which on CEL rules of definitions are stable",
                OLDEST.0, OLDEST.1
            ),
            "update the cluster",
        )
    } else {
        checks::VERSION.ok(format_args!("{major}.{minor}"))
    };
    findings.push(version);
    findings.push(namespace(&facts.namespace, &options.namespace, before));
    (findings, true)
}

/// There is no cluster.
pub(super) fn unreachable(trouble: &Trouble) -> Finding {
    checks::API_SERVER.failed(
        trouble,
        "make `kubectl cluster-info` work; name the cluster with --kubeconfig or --context",
    )
}

fn namespace(facts: &Read<Namespace>, name: &str, before: bool) -> Finding {
    let entry = checks::NAMESPACE;
    match facts {
        Err(Trouble::Missing) if before => entry.warning(
            format_args!("there is no namespace {name} yet"),
            format_args!("kubectl create namespace {name} (or helm install --create-namespace)"),
        ),
        Err(Trouble::Missing) => entry.failed(
            format_args!("there is no namespace {name}"),
            "name the namespace of the installation with -n; `helm list -A` shows it",
        ),
        Err(other) => entry.unknown(other, "try again"),
        Ok(namespace) if namespace.metadata.deletion_timestamp.is_some() => entry.failed(
            format_args!("the namespace {name} is being deleted"),
            "wait until it is gone, or choose another one",
        ),
        Ok(namespace) => {
            let level = pod_security(namespace).map_or("no Pod Security level".to_owned(), |level| {
                format!(
                    "Pod Security level {level}, which all pods of the charts keep but the proxies of nodes"
                )
            });
            entry.ok(format_args!("{name}, {level}"))
        }
    }
}

/// The level that a namespace names.
pub(super) fn pod_security(namespace: &Namespace) -> Option<&str> {
    let labels = namespace.metadata.labels.as_ref()?;
    labels.get(POD_SECURITY).map(String::as_str)
}

/// Everything the charts create.
pub(super) fn rights(facts: &[(String, Read<bool>)]) -> Finding {
    let entry = checks::RIGHTS;
    if let Some(trouble) = facts.iter().find_map(|(_, fact)| fact.as_ref().err()) {
        return entry.unknown(trouble, "try again; see --timeout");
    }
    let missing: Vec<String> = facts
        .iter()
        .filter(|(_, fact)| *fact == Ok(false))
        .map(|(right, _)| right.clone())
        .collect();
    if missing.is_empty() {
        return entry.ok(format_args!("{} rights", facts.len()));
    }
    entry.failed(
        format_args!("you may not {}", named(missing.len(), &missing)),
        "let an administrator install it, or give you these rights",
    )
}

/// Pods of others that look after the same resources.
pub(super) fn others(facts: &Read<Vec<String>>, namespace: &str) -> Finding {
    let entry = checks::OTHERS;
    match facts {
        Ok(pods) if pods.is_empty() => entry.ok("nobody"),
        Ok(pods) => entry.warning(
            format_args!("there are pods of others: {}", named(pods.len(), pods)),
            format_args!(
                "remove the other one, or give each its own namespaces: config.managedNamespacesMode=labelSelector, and \
                 kubectl label namespace NAME {}={namespace}",
                crate::cluster::NAMESPACE_LABEL
            ),
        ),
        Err(trouble) => entry.unknown(trouble, "try again"),
    }
}

/// An API that was asked for.
pub(super) fn extra(entry: &Entry, facts: &Read<()>, remedy: &str) -> Finding {
    match facts {
        Ok(()) => entry.ok("it is there"),
        Err(Trouble::Missing) => entry.failed("the cluster does not know it", remedy),
        Err(trouble) => entry.unknown(trouble, "try again"),
    }
}
