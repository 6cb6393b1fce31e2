//! Rules as JSON.

use landbridge_redirect::ruleset::{Chain, ChainKind, Elements, Hook, Ruleset};
use serde_json::{Value, json};

/// A table; `routing` is what belongs to it of policy routing.
pub(super) fn table(table: &Ruleset, routing: &Value) -> Value {
    let sets: Vec<Value> = table.sets.iter().map(set).collect();
    let chains: Vec<Value> = table.chains.iter().map(chain).collect();
    json!({
        "family": "inet",
        "table": landbridge_redirect::ruleset::TABLE,
        "comment": table.comment,
        "owner": table.owner(),
        "sets": sets,
        "chains": chains,
        "routing": routing,
    })
}

fn set(set: &landbridge_redirect::ruleset::Set) -> Value {
    let elements: Vec<String> = match &set.elements {
        Elements::Destinations(all) => all.iter().map(ToString::to_string).collect(),
        Elements::Networks(_) => set.ranges(),
    };
    json!({ "name": set.name, "elements": elements })
}

fn chain(chain: &Chain) -> Value {
    let rule = |rule: &landbridge_redirect::ruleset::Rule| {
        let statements: Vec<String> = rule.statements.iter().map(ToString::to_string).collect();
        json!({ "rule": statements.join(" "), "comment": rule.comment })
    };
    let kind = match &chain.kind {
        ChainKind::Filter => "filter",
        ChainKind::Route => "route",
        ChainKind::Nat => "nat",
        ChainKind::Other(kind) => kind,
    };
    let hook = match chain.hook {
        Hook::Prerouting => "prerouting".to_owned(),
        Hook::Output => "output".to_owned(),
        Hook::Other(number) => number.to_string(),
    };
    json!({
        "name": chain.name,
        "type": kind,
        "hook": hook,
        "priority": chain.priority,
        "rules": chain.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}
