//! Labels of namespaces, which a request about a pod does not carry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use parking_lot::RwLock;

use super::decide::{ENFORCE, NamespaceLabels};
use super::{INJECT, OPTED_IN};
use crate::cluster::watch::Seen;

/// The labels that count, of every namespace: about 100 bytes each. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    table: Arc<RwLock<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    known: BTreeMap<String, NamespaceLabels>,
    /// What the running list has named.
    naming: Option<BTreeSet<String>>,
}

/// What counts of the labels.
pub fn labels_of(namespace: &PartialObjectMeta<Namespace>) -> NamespaceLabels {
    let labels = namespace.labels();
    let opted_in = labels
        .get(INJECT)
        .is_some_and(|value| OPTED_IN.contains(&value.as_str()));
    NamespaceLabels {
        opted_in,
        enforce: labels.get(ENFORCE).cloned(),
    }
}

impl Namespaces {
    /// The labels of one; none while it has not been seen.
    pub fn get(&self, name: &str) -> Option<NamespaceLabels> {
        self.table.read().known.get(name).cloned()
    }

    /// Takes what the watch saw.
    pub fn see(&self, seen: Seen<PartialObjectMeta<Namespace>>) {
        let mut table = self.table.write();
        match seen {
            Seen::Restarted => table.naming = Some(BTreeSet::new()),
            Seen::Present(namespace) => {
                let name = namespace.name_any();
                if let Some(naming) = &mut table.naming {
                    naming.insert(name.clone());
                }
                table.known.insert(name, labels_of(&namespace));
            }
            Seen::Gone { name, .. } => {
                table.known.remove(&name);
            }
            Seen::Unreadable(_) => {}
            Seen::Listed => {
                if let Some(named) = table.naming.take() {
                    table.known.retain(|name, _| named.contains(name));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(name: &str, labels: Value) -> Seen<PartialObjectMeta<Namespace>> {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        Seen::Present(Box::new(serde_json::from_value(object).unwrap()))
    }

    fn gone(name: &str) -> Seen<PartialObjectMeta<Namespace>> {
        Seen::Gone {
            namespace: String::new(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn labels_are_those_of_the_last_list_and_of_what_came_after() {
        let namespaces = Namespaces::default();
        namespaces.see(Seen::Restarted);
        namespaces.see(seen("shop", json!({INJECT: "enabled", ENFORCE: "restricted"})));
        namespaces.see(seen("old", json!({})));
        let shop = NamespaceLabels {
            opted_in: true,
            enforce: Some("restricted".to_owned()),
        };
        assert_eq!(
            namespaces.get("shop"),
            Some(shop.clone()),
            "before the list is complete"
        );
        namespaces.see(Seen::Listed);
        namespaces.see(seen("late", json!({INJECT: "yes"})));
        assert_eq!(namespaces.get("late"), Some(NamespaceLabels::default()));
        namespaces.see(gone("late"));
        assert_eq!(namespaces.get("late"), None);
        // A list anew names what there is.
        namespaces.see(Seen::Restarted);
        assert_eq!(namespaces.get("shop"), Some(shop), "while it is listed");
        namespaces.see(seen("shop", json!({})));
        namespaces.see(Seen::Listed);
        assert_eq!(namespaces.get("shop"), Some(NamespaceLabels::default()));
        assert_eq!(namespaces.get("old"), None);
    }
}
