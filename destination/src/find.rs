//! The answer of a find call, in its exact wire form (seed L13334-L13500). Unknown keys are ignored: the seed says to
//! "expect" more of them (L13405). What may be a credential is hidden from `Debug`.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::properties::DestinationConfig;

/// A destination with what is needed to call it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FindResponse {
    /// Where it was found.
    #[serde(default, deserialize_with = "default_if_null")]
    pub owner: Owner,
    /// Its properties.
    #[serde(
        rename = "destinationConfiguration",
        deserialize_with = "DestinationConfig::deserialize_tolerant"
    )]
    pub configuration: DestinationConfig,
    /// Ready-made tokens; absent for kinds without tokens and when retrieval was skipped.
    #[serde(rename = "authTokens", default, skip_serializing_if = "Option::is_none")]
    pub auth_tokens: Option<Vec<AuthToken>>,
    /// Key and trust stores the configuration names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Vec<Certificate>>,
    /// `ETag` of the answer, for the next conditional call. Not part of the body.
    #[serde(skip)]
    pub etag: Option<String>,
}

/// Where a destination was found. Either may be null, not both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Subaccount.
    #[serde(rename = "SubaccountId", default)]
    pub subaccount_id: Option<String>,
    /// Service instance; null when found on subaccount level (seed L13362).
    #[serde(rename = "InstanceId", default)]
    pub instance_id: Option<String>,
}

/// One token, or the reason why there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthToken {
    /// `Basic`, `Bearer`, ...; empty on error.
    #[serde(rename = "type", default, deserialize_with = "default_if_null")]
    pub token_type: String,
    /// The token; empty on error.
    #[serde(default, serialize_with = "expose", deserialize_with = "secret_or_null")]
    pub value: SecretString,
    /// The header to send; absent on error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_header: Option<HttpHeader>,
    /// Seconds the token lives, counted from this answer; OAuth only. A text on the wire (seed L13412); a number is
    /// accepted too.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds_as_text")]
    pub expires_in: Option<u64>,
    /// Scopes the token came with, separated by blanks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Refresh token the token came with.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "expose_option"
    )]
    pub refresh_token: Option<SecretString>,
    /// What kind of token it is (RFC 8693; later API).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<String>,
    /// Why there is no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A header, complete with its scheme.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Name. Not always `Authorization` (seed L9774).
    pub key: String,
    /// Complete value.
    #[serde(serialize_with = "expose")]
    pub value: SecretString,
}

/// A key or trust store. Keys are capitalised as in the sample, not as in the prose (seed L13459 against L13451).
#[derive(Clone, Serialize, Deserialize)]
pub struct Certificate {
    /// Name of the entry.
    #[serde(rename = "Name")]
    pub name: String,
    /// Base64 of the file; may hold a private key.
    #[serde(rename = "Content", serialize_with = "expose")]
    pub content: SecretString,
    /// `CERTIFICATE`.
    #[serde(rename = "Type", default, deserialize_with = "default_if_null")]
    pub kind: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl AuthToken {
    /// A token sent as `Authorization: <token_type> <value>`.
    pub fn authorization(token_type: &str, value: &SecretString) -> Self {
        let header = format!("{token_type} {}", value.expose_secret());
        Self::sent_as("Authorization", header.into(), token_type, value)
    }

    /// A token sent in a header of its own name and form (seed L8180, L9774).
    pub fn sent_as(key: &str, header: SecretString, token_type: &str, value: &SecretString) -> Self {
        Self {
            token_type: token_type.to_owned(),
            value: value.clone(),
            http_header: Some(HttpHeader {
                key: key.to_owned(),
                value: header,
            }),
            expires_in: None,
            scope: None,
            refresh_token: None,
            issued_token_type: None,
            error: None,
        }
    }

    /// The entry that tells why there is no token: empty type and value (seed L13416).
    pub fn failed(error: impl Into<String>) -> Self {
        Self {
            token_type: String::new(),
            value: SecretString::default(),
            http_header: None,
            expires_in: None,
            scope: None,
            refresh_token: None,
            issued_token_type: None,
            error: Some(error.into()),
        }
    }

    /// Whether this is an error entry. An entry without a header to send is one, even if it gives no reason.
    pub fn is_error(&self) -> bool {
        self.error.is_some() || self.http_header.is_none()
    }
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn expose_option<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_some(secret.expose_secret()),
        None => serializer.serialize_none(),
    }
}

fn secret_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    Ok(Option::<SecretString>::deserialize(deserializer)?.unwrap_or_default())
}

/// Some stores write null for what they leave out; the rest of the answer is good.
fn default_if_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

mod seconds_as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(seconds: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match seconds {
            Some(seconds) => serializer.collect_str(seconds),
            None => serializer.serialize_none(),
        }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
        Other(serde::de::IgnoredAny),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        Ok(match Option::<Seconds>::deserialize(deserializer)? {
            Some(Seconds::Number(seconds)) => Some(seconds),
            Some(Seconds::Text(text)) => text.trim().parse().ok(),
            Some(Seconds::Other(_)) | None => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T04, D2 (seed L13478), with the comma the sample lacks.
    const BASIC: &str = r#"{"owner":{"SubaccountId":"9acf4877-5a3d-43d2-b67d-7516efe15b11","InstanceId":null},"destinationConfiguration":{"Name":"TestBasic","Type":"HTTP","URL":"http://sap.com","Authentication":"BasicAuthentication","ProxyType":"OnPremise","User":"test","Password":"pass12345"},"authTokens":[{"type":"Basic","value":"dGVzdDpwYXNzMTIzNDU=","http_header":{"key":"Authorization","value":"Basic dGVzdDpwYXNzMTIzNDU="}}]}"#;

    #[test]
    fn basic_sample_survives_byte_by_byte() {
        let found: FindResponse = serde_json::from_str(BASIC).unwrap();
        assert_eq!(found.owner.instance_id, None);
        assert_eq!(found.configuration.user(), Some("test"));
        assert_eq!(serde_json::to_string(&found).unwrap(), BASIC);
        let shown = format!("{found:?}");
        assert!(
            !shown.contains("dGVzd") && !shown.contains("pass12345"),
            "{shown}"
        );
    }

    #[test]
    fn no_authentication_has_no_tokens_d1() {
        let text = r#"{"owner":{"SubaccountId":"s","InstanceId":null},"destinationConfiguration":{"Name":"d","URL":"http://localhost","ProxyType":"Internet","Type":"HTTP","Authentication":"NoAuthentication"}}"#;
        let found: FindResponse = serde_json::from_str(text).unwrap();
        assert!(found.auth_tokens.is_none() && found.certificates.is_none());
        assert_eq!(serde_json::to_string(&found).unwrap(), text);
    }

    #[test]
    fn expires_in_is_a_text_and_a_number_is_accepted_d10() {
        for (wire, expected) in [
            (r#""3600""#, Some(3600)),
            ("3600", Some(3600)),
            (r#""soon""#, None),
            ("null", None),
            ("1.5", None),
        ] {
            let text = format!(r#"{{"type":"Bearer","value":"t","expires_in":{wire},"new_key":[1]}}"#);
            let token: AuthToken = serde_json::from_str(&text).unwrap();
            assert_eq!(token.expires_in, expected, "{wire}");
        }
        let mut token = AuthToken::authorization("Bearer", &"t".into());
        token.expires_in = Some(3600);
        assert!(
            serde_json::to_string(&token)
                .unwrap()
                .contains(r#""expires_in":"3600""#)
        );
    }

    #[test]
    fn null_is_as_if_left_out() {
        let text = r#"{"owner":null,"destinationConfiguration":{"Name":"d"},"authTokens":[{"type":null,"value":null,"error":"x"}],"certificates":[{"Name":"k","Content":"c","Type":null}]}"#;
        let found: FindResponse = serde_json::from_str(text).unwrap();
        assert_eq!(found.owner, Owner::default());
        assert_eq!(found.auth_tokens.unwrap()[0].token_type, "");
        assert_eq!(found.certificates.unwrap()[0].kind, "");
    }

    #[test]
    fn error_entry_d8() {
        let token = AuthToken::failed("Retrieval of OAuthToken failed due to: x");
        assert!(token.is_error());
        assert_eq!(
            serde_json::to_string(&token).unwrap(),
            r#"{"type":"","value":"","error":"Retrieval of OAuthToken failed due to: x"}"#
        );
    }

    #[test]
    fn certificates_are_capitalised_and_hidden_d11() {
        let text = r#"{"Name":"keystore.jks","Content":"<value>","Type":"CERTIFICATE"}"#;
        let certificate: Certificate = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&certificate).unwrap(), text);
        assert!(!format!("{certificate:?}").contains("<value>"));
    }
}
