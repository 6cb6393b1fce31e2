//! Which namespaces are managed: all, or those with a label.

use std::collections::BTreeSet;

use super::Seen;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;

/// A namespace as it is watched: its metadata alone.
pub type SeenNamespace = Seen<PartialObjectMeta<Namespace>>;

/// Which namespaces.
#[derive(Debug, Clone)]
pub enum Managed {
    /// All that are watched.
    All,
    /// Those whose label has the value.
    Labelled {
        /// Key of the label.
        label: String,
        /// Its value.
        value: String,
        /// Those that have it.
        namespaces: BTreeSet<String>,
        /// What the running list has named.
        naming: Option<BTreeSet<String>>,
        /// Whether a list was ever complete.
        listed: bool,
    },
}

impl Managed {
    /// Namespaces with this label.
    pub fn labelled(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Labelled {
            label: label.into(),
            value: value.into(),
            namespaces: BTreeSet::new(),
            naming: None,
            listed: false,
        }
    }

    /// Whether all are.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether this one is managed.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Labelled { namespaces, .. } => namespaces.contains(namespace),
        }
    }

    /// Whether it is known which ones.
    pub fn is_listed(&self) -> bool {
        match self {
            Self::All => true,
            Self::Labelled { listed, .. } => *listed,
        }
    }

    /// Takes note of a namespace; returns those that are managed now and were not, or the reverse.
    pub(crate) fn see(&mut self, seen: SeenNamespace) -> BTreeSet<String> {
        let Self::Labelled {
            label,
            value,
            namespaces,
            naming,
            listed,
        } = self
        else {
            return BTreeSet::new();
        };
        let (name, chosen) = match seen {
            Seen::Restarted => {
                *naming = Some(BTreeSet::new());
                return BTreeSet::new();
            }
            Seen::Listed => {
                *listed = true;
                let named = naming.take().unwrap_or_default();
                let gone: BTreeSet<_> = namespaces.difference(&named).cloned().collect();
                *namespaces = named;
                return gone;
            }
            Seen::Present(namespace) => {
                let chosen = namespace.labels().get(label) == Some(value);
                (namespace.name_any(), chosen)
            }
            Seen::Gone { name, .. } => (name, false),
            Seen::Unreadable(_) => return BTreeSet::new(),
        };
        if chosen && let Some(naming) = naming {
            naming.insert(name.clone());
        }
        let changed = if chosen {
            namespaces.insert(name.clone())
        } else {
            namespaces.remove(&name)
        };
        changed.then_some(name).into_iter().collect()
    }
}
