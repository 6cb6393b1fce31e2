//! What a sidecar asks a gateway, and what it hears: enough to call one destination, and nothing by which it could get
//! at another one or at the store.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::route::RouteKey;
use crate::selector::ChainSelector;

/// `POST`: a [`ResolveRequest`], answered by a [`ResolveAnswer`].
pub const RESOLVE_PATH: &str = "/v1/resolve";

/// Longest body of a [`ResolveRequest`]: a chain may carry a user's token, and the head that brought it has at most
/// 64 KiB.
pub const MAX_RESOLVE_REQUEST: usize = 64 << 10;

/// Longest body of a [`ResolveAnswer`]: a trust store of some hundred certificates fits.
pub const MAX_RESOLVE_ANSWER: usize = 512 << 10;

/// Which destination is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolveRequest {
    /// The route; the gateway knows its destination.
    pub route: RouteKey,
    /// The chain that the application's request names, instead of the route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainSelector>,
    /// The tenant that the application's request names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The credential that the target has refused: the whole value of its header.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose")]
    pub refused: Option<SecretString>,
    /// How many milliseconds ago the store may have been asked at most. None: whatever the gateway would use itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_ms: Option<u64>,
}

/// What the gateway says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub enum ResolveAnswer {
    /// Call it like this.
    Resolved(Box<ResolvedDestination>),
    /// Only gateways can carry it (it needs a tunnel, or each request names its own destination): connections go there.
    CarriedByGateway {
        /// Why.
        reason: String,
    },
    /// It cannot be called; the application hears what it would hear from the gateway.
    Failed {
        /// The kind of failure, as the gateway calls it.
        kind: String,
        /// What happened and what to do.
        message: String,
    },
}

/// A destination as the data path needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedDestination {
    /// Name in the store; for logs.
    pub name: String,
    /// Where to.
    pub target: ResolvedTarget,
    /// Which certificates of the target are accepted.
    pub trust: ResolvedTrust,
    /// Headers to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// What proves who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<ResolvedCredential>,
    /// Limit for making a connection, milliseconds.
    pub connect_timeout_ms: u64,
    /// Limit for each wait for the target's data, milliseconds.
    pub read_timeout_ms: u64,
    /// The store was asked longer ago than was wanted, and cannot be asked now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
    /// Names of the store's certificates that the answer depends on: when one changes, it has to be asked for again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
}

/// The system behind a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum ResolvedTarget {
    /// HTTP.
    Http {
        /// Its URL.
        url: String,
        /// Query parameters to add.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        queries: Vec<(String, String)>,
    },
    /// Opaque bytes.
    Tcp {
        /// Host.
        host: String,
        /// Port.
        port: u16,
    },
}

/// Which certificates of a target are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ResolvedTrust {
    /// There is no TLS.
    Plain,
    /// Those of the public authorities.
    Roots,
    /// Those of the public authorities and of these, PEM.
    Custom(String),
    /// Any.
    All,
}

/// A header that carries a credential.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedCredential {
    /// Name of the header.
    pub name: String,
    /// Its value.
    #[serde(serialize_with = "expose_always")]
    pub value: SecretString,
    /// How many milliseconds it may still be sent; none: it does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_ms: Option<u64>,
    /// Whether another one may be had when the target refuses it.
    pub renewable: bool,
}

impl fmt::Debug for ResolvedCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ResolvedCredential")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn expose<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = secret.as_ref().map(|secret| secret.expose_secret());
    text.serialize(serializer)
}

fn expose_always<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    secret.expose_secret().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_only_what_it_has_to() {
        let request = ResolveRequest {
            route: RouteKey::new("shop", "erp"),
            chain: None,
            tenant: None,
            refused: None,
            fresh_ms: None,
        };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(json, r#"{"route":{"namespace":"shop","name":"erp"}}"#);
        let full =
            r#"{"route":{"namespace":"shop","name":"erp"},"tenant":"t","refused":"Bearer x","freshMs":7}"#;
        let request: ResolveRequest = serde_json::from_str(full).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), full);
        assert!(!format!("{request:?}").contains("Bearer"), "{request:?}");
    }

    #[test]
    fn answers_survive_json_and_hide_the_credential() {
        let texts = [
            r#"{"answer":"carriedByGateway","reason":"a tunnel"}"#,
            r#"{"answer":"failed","kind":"store-timeout","message":"late"}"#,
            r#"{"answer":"resolved","name":"erp","target":{"type":"http","url":"https://h/x","queries":[["a","b"]]},"trust":{"custom":"pem"},"headers":[["x","y"]],"credential":{"name":"authorization","value":"Bearer x","holdsMs":5,"renewable":true},"connectTimeoutMs":1,"readTimeoutMs":2,"outdated":true,"certificates":["c"]}"#,
            r#"{"answer":"resolved","name":"db","target":{"type":"tcp","host":"h","port":5},"trust":"plain","connectTimeoutMs":1,"readTimeoutMs":2}"#,
        ];
        for text in texts {
            let answer: ResolveAnswer = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&answer).unwrap(), text);
            assert!(!format!("{answer:?}").contains("Bearer"), "{answer:?}");
        }
    }
}
