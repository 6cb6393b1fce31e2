//! Who the peer is: read from the verified leaf certificate only, never from a name in the protocol, a common name
//! or another certificate of the chain.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Longest tenant, connector or location id in bytes.
pub const MAX_ID: usize = 128;

const CONNECTOR_PREFIX: &str = "urn:landbridge:connector:";
const LOCATION_PREFIX: &str = "urn:landbridge:location:";
/// RFC 3986 unreserved characters stay as they are.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The verified identity of a connector. The tenant is opaque here.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerIdentity {
    /// Tenant (subaccount) the connector belongs to.
    pub tenant: String,
    /// The connector within its tenant.
    pub connector: String,
    /// The only location id it may serve; `None` allows any.
    pub location: Option<String>,
}

/// Why a certificate or an id does not name a connector.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// Not X.509.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// There must be exactly one connector URI.
    #[error(
        "the certificate has {0} subject alternative names of the form urn:landbridge:connector:TENANT:ID, not one"
    )]
    Count(usize),
    /// A part is malformed.
    #[error("{field} must have 1 to 128 characters and no control characters")]
    Part {
        /// Which part.
        field: &'static str,
    },
    /// A location id is not usable in a URI.
    #[error("a location id has at most 128 letters, digits, '-', '.', '_' or '~'")]
    Location,
}

impl PeerIdentity {
    /// Checks the parts.
    pub fn new(tenant: &str, connector: &str, location: Option<&str>) -> Result<Self, IdentityError> {
        check_part("tenant", tenant)?;
        check_part("connector id", connector)?;
        location.map(check_location).transpose()?;
        Ok(Self {
            tenant: tenant.to_owned(),
            connector: connector.to_owned(),
            location: location.map(str::to_owned),
        })
    }

    /// The subject alternative names that carry this identity.
    pub fn to_uris(&self) -> Vec<String> {
        let encode = |part: &str| utf8_percent_encode(part, ESCAPED).to_string();
        let mut uris = vec![format!(
            "{CONNECTOR_PREFIX}{}:{}",
            encode(&self.tenant),
            encode(&self.connector)
        )];
        if let Some(location) = &self.location {
            uris.push(format!("{LOCATION_PREFIX}{}", encode(location)));
        }
        uris
    }

    /// Reads the identity of a certificate that has already been verified.
    pub fn of_certificate(leaf: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| IdentityError::Unreadable)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::Unreadable)?;
        let uris = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        Self::from_uris(uris)
    }

    fn from_uris<'a>(uris: impl Iterator<Item = &'a str>) -> Result<Self, IdentityError> {
        let (mut connectors, mut locations) = (Vec::new(), Vec::new());
        for uri in uris {
            if let Some(rest) = uri.strip_prefix(CONNECTOR_PREFIX) {
                connectors.push(rest);
            } else if let Some(rest) = uri.strip_prefix(LOCATION_PREFIX) {
                locations.push(rest);
            }
        }
        let [connector] = connectors[..] else {
            return Err(IdentityError::Count(connectors.len()));
        };
        let Some((tenant, id)) = connector.split_once(':') else {
            return Err(IdentityError::Count(0));
        };
        let location = match locations[..] {
            [] => None,
            [location] => Some(decode("location id", location)?),
            _ => return Err(IdentityError::Location),
        };
        Self::new(
            &decode("tenant", tenant)?,
            &decode("connector id", id)?,
            location.as_deref(),
        )
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.connector)
    }
}

fn decode(field: &'static str, part: &str) -> Result<String, IdentityError> {
    let decoded = percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| IdentityError::Part { field })?;
    Ok(decoded.into_owned())
}

fn check_part(field: &'static str, part: &str) -> Result<(), IdentityError> {
    let valid = !part.is_empty() && part.len() <= MAX_ID && !part.chars().any(char::is_control);
    if valid {
        Ok(())
    } else {
        Err(IdentityError::Part { field })
    }
}

/// A location id must be usable in a URI (seed L18825); empty is the default location.
pub fn check_location(location: &str) -> Result<(), IdentityError> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let valid = location.len() <= MAX_ID && location.bytes().all(unreserved);
    if valid {
        Ok(())
    } else {
        Err(IdentityError::Location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_certificate_names() {
        for (tenant, connector, location) in [
            ("acme", "c1", None),
            ("a:b/c d", "käse%", Some("eu-10")),
            ("x", "y", Some("")),
        ] {
            let identity = PeerIdentity::new(tenant, connector, location).unwrap();
            let uris = identity.to_uris();
            assert!(uris.iter().all(|uri| uri.is_ascii()), "{uris:?}");
            assert_eq!(
                PeerIdentity::from_uris(uris.iter().map(String::as_str)),
                Ok(identity)
            );
        }
    }

    #[test]
    fn refuses_ambiguous_and_malformed_names() {
        let cases: [(&[&str], IdentityError); 6] = [
            (&[], IdentityError::Count(0)),
            (
                &["urn:landbridge:connector:a:b", "urn:landbridge:connector:a:c"],
                IdentityError::Count(2),
            ),
            (&["urn:landbridge:connector:only-tenant"], IdentityError::Count(0)),
            (
                &["urn:landbridge:connector::b"],
                IdentityError::Part { field: "tenant" },
            ),
            (
                &["urn:landbridge:connector:a:%00"],
                IdentityError::Part {
                    field: "connector id",
                },
            ),
            (
                &["urn:landbridge:connector:a:b", "urn:landbridge:location:a%2Fb"],
                IdentityError::Location,
            ),
        ];
        for (uris, expected) in cases {
            assert_eq!(
                PeerIdentity::from_uris(uris.iter().copied()),
                Err(expected),
                "{uris:?}"
            );
        }
    }
}
