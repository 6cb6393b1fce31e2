//! A destination as the store keeps it: a flat, ordered bag of string properties with typed readings of the ones
//! that have a meaning. Order and unknown properties survive a round trip (seed L5748).

mod additions;
mod address;
pub mod keys;
mod kinds;
mod patch;
mod validate;
mod value;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use indexmap::IndexMap;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use additions::{AdditionError, HeaderAdditions};
pub use address::{Address, AddressError};
pub use keys::is_secret_key;
pub use kinds::{Authentication, DestinationKind, ProxyType};
pub use patch::Patch;
pub use validate::{InvalidDestination, NAME_LIMIT, PropertyProblem, check_name};

/// What a store tells about a destination beside its properties. It is none, so it is left out where a client sends back
/// what it read.
pub(crate) const METADATA: &str = "$metadata";

/// Most properties one destination may have. The longest documented one has about 60.
pub const MAX_PROPERTIES: usize = 512;
/// Longest property name in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest property value in bytes: room for a large inline key set, far from hurting anyone's memory.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;
/// Names and values of one destination together, in bytes.
pub const MAX_TOTAL_BYTES: usize = 1024 * 1024;

/// Seconds allowed for `URL.connectionTimeoutInSeconds` and what it is when unset or out of range.
const CONNECTION_TIMEOUT: (std::ops::RangeInclusive<u64>, u64) = (1..=300, 5);
/// The same for `URL.socketReadTimeoutInSeconds`.
const SOCKET_READ_TIMEOUT: (std::ops::RangeInclusive<u64>, u64) = (1..=43_200, 30);

/// The properties of one destination. `Debug` hides the values of secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DestinationConfig {
    properties: IndexMap<String, String>,
}

impl DestinationConfig {
    /// An empty bag.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a property, keeping its place when it exists already.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.properties.insert(key.into(), value.into());
        self
    }

    /// Removes a property, keeping the order of the others.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.properties.shift_remove(key)
    }

    /// The raw value of a property.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// A value with surrounding blanks removed; blank counts as unset. Property files of the seed have a blank
    /// after the equals sign (seed L6879).
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).map(str::trim).filter(|value| !value.is_empty())
    }

    /// Whether a property says `true`, in any case (`TRUE` in property files, `true` in JSON).
    pub fn flag(&self, key: &str) -> Option<bool> {
        let value = self.text(key)?;
        if value.eq_ignore_ascii_case("true") {
            Some(true)
        } else if value.eq_ignore_ascii_case("false") {
            Some(false)
        } else {
            None
        }
    }

    /// All properties in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Number of properties.
    pub fn len(&self) -> usize {
        self.properties.len()
    }

    /// Whether there is no property.
    pub fn is_empty(&self) -> bool {
        self.properties.is_empty()
    }

    /// The same destination without the properties that hold secrets, and without credentials in URLs
    /// (`$skipCredentials`).
    pub fn without_secrets(&self) -> Self {
        let kept = self.iter().filter(|(key, _)| !is_secret_key(key));
        Self {
            properties: kept
                .map(|(key, value)| (key.to_owned(), without_user_info(value, "").into_owned()))
                .collect(),
        }
    }

    /// `Name`, or the empty text.
    pub fn name(&self) -> &str {
        self.text(keys::NAME).unwrap_or_default()
    }

    /// `Type`; `None` when missing or unknown.
    pub fn kind(&self) -> Option<DestinationKind> {
        self.text(keys::TYPE)?.parse().ok()
    }

    /// Target URL, trimmed: `URL`, for LDAP `ldap.url`.
    pub fn url(&self) -> Option<&str> {
        match self.kind() {
            Some(DestinationKind::Ldap) => self.text(keys::LDAP_URL).or_else(|| self.text(keys::URL)),
            _ => self.text(keys::URL),
        }
    }

    /// How to authenticate at the target; unset means not at all.
    pub fn authentication(&self) -> Authentication {
        let key = match self.kind() {
            Some(DestinationKind::Ldap) if self.text(keys::AUTHENTICATION).is_none() => {
                keys::LDAP_AUTHENTICATION
            }
            _ => keys::AUTHENTICATION,
        };
        self.text(key)
            .map_or(Authentication::NoAuthentication, Authentication::from)
    }

    /// Where the target is; `Internet` when unset (seed L6628).
    pub fn proxy_type(&self) -> ProxyType {
        let key = match self.kind() {
            Some(DestinationKind::Ldap) if self.text(keys::PROXY_TYPE).is_none() => keys::LDAP_PROXY_TYPE,
            _ => keys::PROXY_TYPE,
        };
        self.text(key).map_or(ProxyType::Internet, ProxyType::from)
    }

    /// Which connector serves an on-premise target; `None` means the one without a location id (seed L6822).
    pub fn location_id(&self) -> Option<&str> {
        self.text(keys::LOCATION_ID)
    }

    /// `User`. Blanks are part of it.
    pub fn user(&self) -> Option<&str> {
        self.get(keys::USER).filter(|value| !value.is_empty())
    }

    /// `Password`. Blanks are part of it.
    pub fn password(&self) -> Option<&str> {
        self.get(keys::PASSWORD).filter(|value| !value.is_empty())
    }

    /// Name of the certificate entry whose certificates the target's is checked against; `None` means the public
    /// roots (seed L6703, L7263).
    pub fn trust_store(&self) -> Option<&str> {
        self.text(keys::TRUST_STORE_LOCATION)
    }

    /// Whether the target's certificate is not checked at all; for tests only (seed L6725).
    pub fn trust_all(&self) -> bool {
        self.flag(keys::TRUST_ALL).unwrap_or(false)
    }

    /// Name of the key store entry with the client certificate (seed L7339).
    pub fn key_store(&self) -> Option<&str> {
        self.text(keys::KEY_STORE_LOCATION)
    }

    /// How long connecting to the target may take: 1..=300 s, else 5 s (seed L34912).
    pub fn connection_timeout(&self) -> Duration {
        self.seconds("URL.connectionTimeoutInSeconds", &CONNECTION_TIMEOUT)
    }

    /// How long the target may stay silent: 1..=43200 s, else 30 s (seed L34925).
    pub fn socket_read_timeout(&self) -> Duration {
        self.seconds("URL.socketReadTimeoutInSeconds", &SOCKET_READ_TIMEOUT)
    }

    /// A whole number of seconds; the default when unset, not a number or out of range (never clamped, seed L7481).
    pub(crate) fn seconds(&self, key: &str, rule: &(std::ops::RangeInclusive<u64>, u64)) -> Duration {
        let stated = self.text(key).and_then(|value| value.parse::<u64>().ok());
        Duration::from_secs(
            stated
                .filter(|seconds| rule.0.contains(seconds))
                .unwrap_or(rule.1),
        )
    }

    /// Headers added to every request to the target (`URL.headers.*`). A header the application sends too is sent
    /// twice (seed L34955).
    pub fn header_additions(&self) -> HeaderAdditions<'_> {
        HeaderAdditions::new(self, keys::URL_HEADERS)
    }

    /// Query parameters added to every request to the target (`URL.queries.*`), not yet percent-encoded. Duplicates
    /// are kept (seed L34993).
    pub fn query_additions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_prefix(keys::URL_QUERIES)
    }

    /// Properties whose name starts with `prefix`, with the prefix removed.
    pub(crate) fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter()
            .filter_map(move |(key, value)| key.strip_prefix(prefix).map(|rest| (rest, value)))
            .filter(|(rest, _)| !rest.is_empty())
    }

    /// Host and port of a TCP destination: `Address`, or a `tcp://host:port` URL (seed L35192, L36986).
    ///
    /// # Errors
    /// When neither is set or the value cannot be read.
    pub fn address(&self) -> Result<Address, AddressError> {
        self.text(keys::ADDRESS)
            .or_else(|| self.text(keys::URL))
            .ok_or(AddressError::Missing)?
            .parse()
    }

    /// Checks what the store accepts on write.
    ///
    /// # Errors
    /// Every mistake with the property it is in.
    pub fn validate(&self) -> Result<(), InvalidDestination> {
        validate::validate(self)
    }

    /// Reads a bag leniently, for answers of other stores: values that are neither text, number nor boolean
    /// (such as `$metadata`) are left out.
    ///
    /// # Errors
    /// When the value is no JSON object.
    pub fn deserialize_tolerant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BagVisitor { tolerant: true })
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for DestinationConfig {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self {
            properties: pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        }
    }
}

/// Strict: used for everything a client writes.
impl<'de> Deserialize<'de> for DestinationConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BagVisitor { tolerant: false })
    }
}

struct BagVisitor {
    tolerant: bool,
}

impl<'de> Visitor<'de> for BagVisitor {
    type Value = DestinationConfig;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of text properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        use serde::de::Error;
        let mut properties = IndexMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if properties.len() >= MAX_PROPERTIES {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_PROPERTIES} properties"
                )));
            }
            if key == METADATA {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let reading = value::PropertyValue {
                key: &key,
                tolerant: self.tolerant,
            };
            let Some(value) = map.next_value_seed(reading)? else {
                continue;
            };
            if properties.insert(key.clone(), value).is_some() && !self.tolerant {
                return Err(A::Error::custom(format_args!(
                    "property \"{}\" appears twice; send it once",
                    shorten(&key)
                )));
            }
        }
        Ok(DestinationConfig { properties })
    }
}

/// Cuts text from outside down to what fits in a message, without control characters.
pub(crate) fn shorten(text: &str) -> String {
    text.chars()
        .take(80)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

impl fmt::Debug for DestinationConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(key, value)| {
            let value = if is_secret_key(key) {
                Cow::Borrowed("[hidden]")
            } else {
                without_user_info(value, "[hidden]@")
            };
            (key, value)
        });
        formatter.debug_map().entries(shown).finish()
    }
}

/// Passwords are sometimes put into URLs (`https://user:password@host`); `instead` takes their place.
fn without_user_info<'a>(value: &'a str, instead: &str) -> Cow<'a, str> {
    let Some((scheme, rest)) = value.split_once("://") else {
        return Cow::Borrowed(value);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => Cow::Owned(format!("{scheme}://{instead}{}", &rest[at + 1..])),
        None => Cow::Borrowed(value),
    }
}

#[cfg(test)]
mod tests;
