//! The plan's arrows: which room may use which. An arrow that the plan does not have fails the run.

use crate::workspace::{Metadata, Package};

/// Everything, for the binary and for the suites that cross rooms.
const ANY: &[&str] = &["*"];

/// Room, and the rooms it may name in its Cargo.toml (any table). The same table, with the reasons, is in
/// docs/architecture.md.
const PLAN: &[(&str, &[&str])] = &[
    ("landbridge-crds", &[]),
    ("landbridge-runtime", &[]),
    ("landbridge-destination", &["landbridge-runtime"]),
    ("landbridge-tunnel", &["landbridge-runtime"]),
    ("landbridge-redirect", &["landbridge-runtime"]),
    (
        "landbridge-store",
        &[
            "landbridge-destination",
            "landbridge-runtime",
            // Its suite runs on both databases.
            "landbridge-test-postgres",
        ],
    ),
    (
        "landbridge-proxy",
        &[
            "landbridge-destination",
            "landbridge-tunnel",
            "landbridge-runtime",
        ],
    ),
    (
        "landbridge-connector",
        &["landbridge-tunnel", "landbridge-runtime"],
    ),
    (
        "landbridge-operator",
        &["landbridge-crds", "landbridge-destination", "landbridge-runtime"],
    ),
    ("landbridge", ANY),
    ("landbridge-tests", ANY),
    ("landbridge-control-plane", &[]),
    ("landbridge-oci-image", &[]),
    ("landbridge-test-postgres", &[]),
    (
        "landbridge-test-node",
        &["landbridge-control-plane", "landbridge-oci-image"],
    ),
    ("xtask", &["landbridge-oci-image"]),
];

/// Every arrow that the plan does not have, one sentence each; empty when the house is in order.
pub(crate) fn violations(metadata: &Metadata) -> Vec<String> {
    metadata.packages.iter().flat_map(of_package).collect()
}

fn of_package(package: &Package) -> Vec<String> {
    let Some((_, allowed)) = PLAN.iter().find(|(room, _)| *room == package.name) else {
        return vec![format!(
            "{} is a room that the plan does not have: add it to xtask/src/arrows.rs and docs/architecture.md",
            package.name
        )];
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some() && dependency.name != package.name)
        .filter(|dependency| *allowed != ANY && !allowed.contains(&dependency.name.as_str()))
        .map(|dependency| {
            let may = if allowed.is_empty() {
                "no other room".to_owned()
            } else {
                allowed.join(", ")
            };
            format!("{} uses {}, but may use {may}", package.name, dependency.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(packages: &str) -> Metadata {
        serde_json::from_str(&format!(r#"{{"target_directory":"/t","packages":[{packages}]}}"#)).unwrap()
    }

    #[test]
    fn arrows_of_the_plan_pass_and_others_are_named() {
        let cases: &[(&str, &[&str])] = &[
            (
                r#"{"name":"landbridge-proxy","dependencies":[
                    {"name":"landbridge-tunnel","path":"/w/tunnel"},{"name":"tokio","path":null}]}"#,
                &[],
            ),
            (
                r#"{"name":"landbridge-proxy","dependencies":[{"name":"landbridge-crds","path":"/w/crds"}]}"#,
                &[
                    "landbridge-proxy uses landbridge-crds, but may use landbridge-destination, \
                   landbridge-tunnel, landbridge-runtime",
                ],
            ),
            (
                r#"{"name":"landbridge-crds","dependencies":[{"name":"landbridge-runtime","path":"/w/runtime"}]}"#,
                &["landbridge-crds uses landbridge-runtime, but may use no other room"],
            ),
            (
                r#"{"name":"landbridge","dependencies":[{"name":"landbridge-store","path":"/w/store"}]}"#,
                &[],
            ),
            (
                r#"{"name":"landbridge-store","dependencies":[{"name":"landbridge-store","path":"/w/store"}]}"#,
                &[],
            ),
            (
                r#"{"name":"attic","dependencies":[]}"#,
                &[
                    "attic is a room that the plan does not have: add it to xtask/src/arrows.rs and \
                   docs/architecture.md",
                ],
            ),
        ];
        for (package, expected) in cases {
            assert_eq!(violations(&metadata(package)), *expected, "{package}");
        }
    }

    /// A circle would make the table meaningless even when every single arrow is allowed.
    #[test]
    fn the_plan_has_no_circle() {
        let mut placed: Vec<&str> = Vec::new();
        let mut left: Vec<_> = PLAN.iter().filter(|(_, uses)| *uses != ANY).collect();
        while !left.is_empty() {
            let before = left.len();
            left.retain(|(room, uses)| {
                let free = uses.iter().all(|used| placed.contains(used));
                if free {
                    placed.push(room);
                }
                !free
            });
            assert!(left.len() < before, "a circle among {left:?}");
        }
    }
}
