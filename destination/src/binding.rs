//! Credentials of a destination service instance: what a service key or a mounted binding holds (seed L13118, L12016).

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use url::Url;

/// A binding, checked.
#[derive(Clone)]
pub struct Binding {
    /// OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// Base address of the authorization server, without `/oauth/token`.
    pub url: Url,
    /// Base address of the store.
    pub uri: Url,
    /// All other entries, as they were.
    pub other: Map<String, Value>,
}

/// A binding that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// Not JSON.
    #[error("the binding is no JSON ({0}); use the service key as it was printed")]
    Json(#[from] serde_json::Error),
    /// An entry is missing or not a text.
    #[error(
        "the binding has no \"{0}\"; use the service key of a destination service instance as it was printed"
    )]
    Missing(&'static str),
    /// A URL is none.
    #[error("\"{field}\" of the binding is no http:// or https:// address: {reason}")]
    Url {
        /// Entry.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// A kind of credential this version cannot use.
    #[error("the binding has credential-type \"{0}\"; this version needs a client secret")]
    CredentialType(String),
}

impl fmt::Debug for Binding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Binding")
            .field("client_id", &self.client_id)
            .field("url", &self.url.as_str())
            .field("uri", &self.uri.as_str())
            .finish_non_exhaustive()
    }
}

impl Binding {
    /// Reads a service key: the plain object, or one with the object under `credentials`.
    ///
    /// # Errors
    /// See [`BindingError`].
    pub fn from_json(text: &str) -> Result<Self, BindingError> {
        let mut entries: Map<String, Value> = serde_json::from_str(text)?;
        if let Some(Value::Object(nested)) = entries.remove("credentials") {
            entries = nested;
        }
        Self::from_entries(entries)
    }

    fn from_entries(mut entries: Map<String, Value>) -> Result<Self, BindingError> {
        let client_id = take(&mut entries, "clientid")?;
        let client_secret = match take(&mut entries, "clientsecret") {
            Ok(secret) => SecretString::from(secret),
            Err(missing) => {
                // Bindings by certificate have no secret; say that rather than that something is missing.
                let kind = entries
                    .get("credential-type")
                    .and_then(Value::as_str)
                    .filter(|kind| *kind != "binding-secret");
                return Err(kind.map_or(missing, |kind| BindingError::CredentialType(kind.to_owned())));
            }
        };
        let url = base(&take(&mut entries, "url")?, "url")?;
        let uri = base(&take(&mut entries, "uri")?, "uri")?;
        Ok(Self {
            client_id,
            client_secret,
            url,
            uri,
            other: entries,
        })
    }

    /// The binding as JSON text, with its secret. For printing a new service key once.
    pub fn to_json_with_secret(&self) -> SecretString {
        let mut entries = Map::new();
        entries.insert("clientid".into(), self.client_id.clone().into());
        entries.insert("clientsecret".into(), self.client_secret.expose_secret().into());
        entries.insert("url".into(), plain(&self.url).into());
        entries.insert("uri".into(), plain(&self.uri).into());
        entries.extend(self.other.clone());
        format!("{:#}", Value::Object(entries)).into()
    }

    /// An additional entry that is a text, such as `tenantid` or `identityzone`.
    pub fn text(&self, entry: &str) -> Option<&str> {
        self.other.get(entry).and_then(Value::as_str)
    }
}

impl<'de> Deserialize<'de> for Binding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut entries = Map::deserialize(deserializer)?;
        if let Some(Value::Object(nested)) = entries.remove("credentials") {
            entries = nested;
        }
        Self::from_entries(entries).map_err(serde::de::Error::custom)
    }
}

fn take(entries: &mut Map<String, Value>, field: &'static str) -> Result<String, BindingError> {
    match entries.shift_remove(field) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err(BindingError::Missing(field)),
    }
}

fn base(text: &str, field: &'static str) -> Result<Url, BindingError> {
    let error = |reason: String| BindingError::Url { field, reason };
    let mut url = Url::parse(text).map_err(|e| error(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(error(format!("scheme {}", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(error("it has a user or password in it; remove them".to_owned()));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// Without the slash that parsing adds: clients append `/oauth/token` to the text.
fn plain(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#"{"clientid":"sb-1","clientsecret":"hunter2","url":"https://sub.auth.example.com","uri":"https://dest.example.com","tenantid":"t"}"#;

    #[test]
    fn reads_plain_and_nested_keys() {
        let nested = format!(r#"{{"label":"destination","credentials":{KEY}}}"#);
        for text in [KEY, nested.as_str()] {
            let binding = Binding::from_json(text).unwrap();
            assert_eq!(
                (binding.client_id.as_str(), binding.text("tenantid")),
                ("sb-1", Some("t"))
            );
            assert!(!format!("{binding:?}").contains("hunter2"));
            let again: Value = serde_json::from_str(binding.to_json_with_secret().expose_secret()).unwrap();
            assert_eq!(again, serde_json::from_str::<Value>(KEY).unwrap());
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("x", "no JSON"),
            ("{}", "no \"clientid\""),
            (r#"{"clientid":"a","credential-type":"x509"}"#, "x509"),
            (
                r#"{"clientid":"a","clientsecret":"b","url":"h","uri":"https://h"}"#,
                "\"url\"",
            ),
            (
                r#"{"clientid":"a","clientsecret":"b","url":"https://h","uri":"ftp://h"}"#,
                "\"uri\"",
            ),
            (
                r#"{"clientid":"a","clientsecret":"b","url":"https://u:p@h","uri":"https://h"}"#,
                "user or password",
            ),
        ] {
            let error = Binding::from_json(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("u:p"));
        }
    }
}
