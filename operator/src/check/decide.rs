//! From facts to findings. No I/O.

use super::catalogue as checks;
use super::facts::{Before, Cluster, Installed, Leftovers, Listing, Read};
use super::{Finding, Options, Trouble};

mod cluster;
mod definitions;
mod interception;
mod operator;
mod proxies;
mod webhook;

/// Named of several.
const SHOWN: usize = 5;

/// Before an installation.
pub fn before(facts: &Before, options: &Options) -> Vec<Finding> {
    let (mut findings, answers) = cluster::of(&facts.cluster, options, true);
    if !answers {
        return findings;
    }
    findings.push(cluster::rights(&facts.rights));
    findings.extend(definitions::before(&facts.cluster.definitions));
    findings.push(cluster::others(&facts.others, &options.namespace));
    findings.push(checks::NETWORK_POLICIES.skipped(
        "cannot be seen from outside; the proxies enforce the scope of destinations where the network does not",
    ));
    let extras = [
        (
            checks::CERT_MANAGER,
            &facts.cert_manager,
            "install cert-manager, or leave certManager.enabled false",
        ),
        (
            checks::AUTOSCALER,
            &facts.autoscaler,
            "install the vertical pod autoscaler, or scale horizontally",
        ),
        (
            checks::PROMETHEUS,
            &facts.prometheus,
            "install the Prometheus operator, or leave serviceMonitor.enabled false",
        ),
    ];
    for (entry, fact, remedy) in extras {
        findings.extend(fact.as_ref().map(|fact| cluster::extra(&entry, fact, remedy)));
    }
    findings
}

/// An installation.
pub fn installed(facts: &Installed, options: &Options) -> Vec<Finding> {
    let (mut findings, answers) = cluster::of(&facts.cluster, options, false);
    if !answers {
        return findings;
    }
    findings.extend(definitions::after(&facts.cluster.definitions, options));
    findings.extend(operator::of(facts, options));
    findings.extend(webhook::of(facts, options));
    findings.extend(operator::stores(facts, options));
    findings.extend(proxies::of(facts, options));
    findings.extend(interception::of(facts, options));
    findings.push(resources(
        &checks::DESTINATIONS,
        &[("Destinations", &facts.destinations)],
        "landbridge explain NAME -n NAMESPACE",
    ));
    let channels = [
        ("ServiceChannels", &facts.channels),
        ("ServiceMappings", &facts.mappings),
    ];
    findings.push(resources(
        &checks::CHANNELS,
        &channels,
        "kubectl describe sch NAME -n NAMESPACE",
    ));
    findings
}

/// Before an installation is removed.
pub fn uninstall(facts: &Leftovers, options: &Options) -> Vec<Finding> {
    if let Err(trouble @ (Trouble::NoAnswer(_) | Trouble::Answer(..))) = &facts.answers {
        return vec![cluster::unreachable(trouble)];
    }
    let place = match &options.watch_namespace {
        Some(namespace) => format!("-n {namespace}"),
        None => "-A".to_owned(),
    };
    let destinations = match &facts.destinations {
        // The guard of one chart has rights to the resources of that chart alone.
        Err(Trouble::Forbidden(_)) => checks::DESTINATIONS_LEFT
            .skipped("no right to list Destinations; their Services stay until they are deleted"),
        known => left(
            &checks::DESTINATIONS_LEFT,
            known,
            &format!("kubectl delete destinations.destination.connectivity.api.sap --all {place}"),
        ),
    };
    let mappings = match &facts.mappings {
        // They are of the cluster, and an installation for one namespace does not look after them.
        Err(Trouble::Forbidden(_)) if options.watch_namespace.is_some() => checks::MAPPINGS_LEFT
            .skipped("an installation for one namespace does not look after ServiceMappings"),
        known => left(
            &checks::MAPPINGS_LEFT,
            known,
            "kubectl delete servicemappings --all",
        ),
    };
    let channels = format!("kubectl delete servicechannels --all {place}");
    vec![
        left(&checks::CHANNELS_LEFT, &facts.channels, &channels),
        mappings,
        destinations,
    ]
}

fn left(entry: &super::Entry, facts: &Read<Listing>, remedy: &str) -> Finding {
    match facts {
        Ok(listing) if listing.total == 0 => entry.ok("none"),
        Err(Trouble::Missing) => entry.ok("none, not even the definition"),
        Ok(listing) => entry.failed(
            format_args!(
                "{} left: {}",
                listing.total,
                named(listing.total, &listing.examples)
            ),
            format_args!("{remedy} (while the operator still runs)"),
        ),
        // A guard that cannot see must not open.
        Err(Trouble::Forbidden(why)) => entry.failed(
            format_args!("no right to list them: {why}"),
            "give the service account or user of this check the right to list them",
        ),
        Err(other) => entry.failed(other, "try again when the API server answers"),
    }
}

/// The first ones by name, and how many more there are.
fn named(total: usize, examples: &[String]) -> String {
    let shown = examples.len().min(SHOWN);
    let mut text = examples.get(..shown).unwrap_or_default().join("; ");
    if total > shown {
        text.push_str(&format!(" and {} more", total - shown));
    }
    text
}

fn resources(entry: &super::Entry, kinds: &[(&str, &Read<Listing>)], remedy: &str) -> Finding {
    let (mut total, mut bad, mut examples) = (0, 0, Vec::new());
    for (kind, facts) in kinds {
        match facts {
            Ok(listing) => {
                total += listing.total;
                bad += listing.bad;
                examples.extend(listing.examples.iter().cloned());
            }
            // The definitions have a check of their own.
            Err(Trouble::Missing) => {}
            Err(Trouble::Forbidden(why)) => {
                return entry.skipped(format_args!("no right to list {kind}: {why}"));
            }
            Err(other) => return entry.failed(format_args!("{kind}: {other}"), "try again; see --timeout"),
        }
    }
    if bad == 0 {
        return entry.ok(format_args!("{total} of {total}"));
    }
    entry.warning(
        format_args!("{bad} of {total} are not: {}", named(bad, &examples)),
        remedy,
    )
}

#[cfg(test)]
mod tests;
