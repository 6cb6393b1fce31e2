//! Definitions: those of the cluster against those of this program.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use super::super::{Entry, Finding, Options, Trouble, catalogue as checks};
use super::Read;

const INSTALL: &str = "landbridge crds | kubectl apply --server-side -f -";
const REPLACE: &str = "landbridge crds | kubectl apply --server-side --force-conflicts -f - (or update the chart landbridge-crds)";

type Pair = (CustomResourceDefinition, Read<CustomResourceDefinition>);

fn entry(definition: &CustomResourceDefinition) -> Entry {
    match definition.spec.names.kind.as_str() {
        "ServiceChannel" => checks::CHANNELS_DEFINITION,
        "ServiceMapping" => checks::MAPPINGS_DEFINITION,
        _ => checks::DESTINATIONS_DEFINITION,
    }
}

/// How far the cluster's definition is from ours.
#[derive(Debug, PartialEq, Eq)]
enum Distance {
    /// None.
    Same,
    /// Fields or rules differ.
    Fields,
    /// It cannot be used for the same resources.
    Incompatible(String),
}

fn distance(ours: &CustomResourceDefinition, theirs: &CustomResourceDefinition) -> Distance {
    if ours.spec.scope != theirs.spec.scope {
        return Distance::Incompatible(format!(
            "its scope is {}, not {}",
            theirs.spec.scope, ours.spec.scope
        ));
    }
    for version in &ours.spec.versions {
        let served = theirs
            .spec
            .versions
            .iter()
            .any(|known| known.name == version.name && known.served);
        if !served {
            return Distance::Incompatible(format!("it does not serve the version {}", version.name));
        }
    }
    let specification =
        |definition: &CustomResourceDefinition| serde_json::to_value(&definition.spec).unwrap_or_default();
    let (ours, theirs) = (specification(ours), specification(theirs));
    let schema = |value: &Value| value.pointer("/versions/0/schema").cloned();
    if contains(&theirs, &ours) && schema(&theirs) == schema(&ours) {
        Distance::Same
    } else {
        Distance::Fields
    }
}

/// Everything of `want` is in `have`, beside which the API server has put its defaults.
fn contains(have: &Value, want: &Value) -> bool {
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => want
            .iter()
            .all(|(key, want)| have.get(key).is_some_and(|have| contains(have, want))),
        (Value::Array(have), Value::Array(want)) => {
            have.len() == want.len() && have.iter().zip(want).all(|(have, want)| contains(have, want))
        }
        _ => have == want,
    }
}

/// Before an installation: not there, or such that the chart can take it over.
pub(super) fn before(pairs: &[Pair]) -> Vec<Finding> {
    let finding = |(ours, theirs): &Pair| {
        let entry = entry(ours);
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(Trouble::Missing) => return entry.ok("not there yet; the chart landbridge-crds brings it"),
            Err(trouble) => return entry.unknown(trouble, "try again"),
        };
        match (distance(ours, theirs), owner(theirs)) {
            (Distance::Incompatible(why), _) => entry.failed(
                format_args!("there is one of another product: {why}"),
                format_args!("remove it when nobody needs it: kubectl delete crd {}", name(theirs)),
            ),
            (_, Some(release)) => entry.warning(
                format_args!("the Helm release {release} owns it"),
                format_args!(
                    "leave it out of landbridge-crds ({}), or give it to that release: kubectl annotate crd {} --overwrite \
                     meta.helm.sh/release-name=RELEASE meta.helm.sh/release-namespace=NAMESPACE",
                    switch(ours),
                    name(theirs)
                ),
            ),
            (Distance::Fields, None) => {
                entry.warning("there is one with other fields or rules", REPLACE)
            }
            (Distance::Same, None) => entry.ok("there, as this version has it"),
        }
    };
    pairs.iter().map(finding).collect()
}

/// The release of another chart that has it.
fn owner(definition: &CustomResourceDefinition) -> Option<String> {
    let labels = definition.metadata.labels.as_ref();
    let chart = labels.and_then(|labels| labels.get("helm.sh/chart"));
    if chart.is_some_and(|chart| chart.starts_with("landbridge-crds-")) {
        return None;
    }
    let annotations = definition.metadata.annotations.as_ref()?;
    let release = annotations.get("meta.helm.sh/release-name")?;
    let namespace = annotations.get("meta.helm.sh/release-namespace")?;
    Some(format!("{namespace}/{release}"))
}

/// The value of the chart that leaves it out.
fn switch(definition: &CustomResourceDefinition) -> &'static str {
    match definition.spec.names.kind.as_str() {
        "ServiceChannel" => "serviceChannels.enabled=false",
        "ServiceMapping" => "serviceMappings.enabled=false",
        _ => "destinations.enabled=false",
    }
}

fn name(definition: &CustomResourceDefinition) -> &str {
    definition.metadata.name.as_deref().unwrap_or_default()
}

/// Of an installation: there, established, and of this version.
pub(super) fn after(pairs: &[Pair], options: &Options) -> Vec<Finding> {
    let finding = |(ours, theirs): &Pair| {
        let entry = entry(ours);
        let unused = options.watch_namespace.is_some() && ours.spec.scope == "Cluster";
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(Trouble::Missing) if unused => {
                return entry.skipped("an installation for one namespace does not look after them");
            }
            Err(Trouble::Missing) => {
                return entry.failed(
                    format_args!("the cluster has no {}", ours.spec.names.kind),
                    INSTALL,
                );
            }
            Err(trouble) => return entry.unknown(trouble, "try again"),
        };
        if let Some(why) = not_established(theirs) {
            return entry.failed(
                format_args!("the API server does not serve it: {why}"),
                format_args!("kubectl describe crd {}", name(theirs)),
            );
        }
        match distance(ours, theirs) {
            Distance::Incompatible(why) => entry.failed(format_args!("it is another one: {why}"), REPLACE),
            Distance::Fields => entry.warning(
                format_args!(
                    "it is of another version than {}: fields or rules differ",
                    options.version
                ),
                REPLACE,
            ),
            Distance::Same => entry.ok(format_args!("as in {}", options.version)),
        }
    };
    pairs.iter().map(finding).collect()
}

fn not_established(definition: &CustomResourceDefinition) -> Option<String> {
    let conditions = definition
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    let established = conditions
        .clone()
        .any(|one| one.type_ == "Established" && one.status == "True");
    if established {
        return None;
    }
    let why = conditions.find(|one| one.status == "False");
    let why = why.and_then(|one| one.message.clone());
    Some(why.unwrap_or_else(|| "not established yet".to_owned()))
}
