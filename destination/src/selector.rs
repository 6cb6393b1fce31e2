//! Which destination a route or request means: name, level, fragment, chain, service instance.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::levels::Level;

/// The name that turns a route into a gateway: the destination is then named by each request.
pub const GATEWAY_NAME: &str = "*";

/// Everything that selects one destination in the store, as declared by a `Destination` resource or by
/// request headers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationSelector {
    /// Name in the store, or [`GATEWAY_NAME`].
    pub name: String,
    /// Exact level; `None` lets the store search instance first, then subaccount (seed L13206).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Fragment merged over the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<FragmentSelector>,
    /// Destination chain the store runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainSelector>,
    /// Name of the destination service instance (which binding to ask with); `None` means the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// A fragment: properties that win over those of the destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FragmentSelector {
    /// Name of the fragment in the store.
    pub name: String,
    /// Exact level of the fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// A missing fragment is tolerated.
    #[serde(default)]
    pub optional: bool,
}

/// A destination chain and its variables.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainSelector {
    /// Name of the chain.
    pub name: String,
    /// Variables in the order they were declared; a request header of the same name wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<ChainVariable>,
}

/// One variable of a chain. Its value may be a token of the user, so `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainVariable {
    /// Name without the `X-Chain-Var-` prefix.
    pub name: String,
    /// Value as sent.
    pub value: String,
}

impl fmt::Debug for ChainVariable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChainVariable")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl DestinationSelector {
    /// Selects by name alone.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            level: None,
            fragment: None,
            chain: None,
            instance: None,
        }
    }

    /// Whether a change of the destination, fragment or certificate of this name may change what this selects. A chain
    /// may use anything.
    pub fn concerns(&self, changed: &str) -> bool {
        self.name == changed
            || self
                .fragment
                .as_ref()
                .is_some_and(|fragment| fragment.name == changed)
            || self.chain.is_some()
    }

    /// Whether the destination is named per request instead of here.
    pub fn is_gateway(&self) -> bool {
        self.name == GATEWAY_NAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_full_form_survive_json() {
        let short: DestinationSelector = serde_json::from_str(r#"{"name":"erp"}"#).unwrap();
        assert_eq!(short, DestinationSelector::named("erp"));
        assert_eq!(serde_json::to_string(&short).unwrap(), r#"{"name":"erp"}"#);

        let text = r#"{"name":"*","level":"provider_instance","fragment":{"name":"f","level":"instance","optional":true},"chain":{"name":"c","variables":[{"name":"v","value":"1"}]},"instance":"dest"}"#;
        let full: DestinationSelector = serde_json::from_str(text).unwrap();
        assert!(full.is_gateway());
        assert_eq!(serde_json::to_string(&full).unwrap(), text);
    }
}
