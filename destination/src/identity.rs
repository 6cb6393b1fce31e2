//! Who a workload is to another one: short-lived certificates that the operator signs, and what they say.
//!
//! Sidecars and gateways make a key, post a signing request to the operator's serve API, and get a certificate for the
//! service account that their token belongs to. Of the request only the public key counts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `POST`: a [`CertificateRequest`], answered by a [`CertificateAnswer`].
pub const CERTIFICATE_PATH: &str = "/v1/certificate";

/// Name in the certificates of gateways, also where one is dialled by its address.
pub const GATEWAY_NAME: &str = "landbridge-gateway";

/// Longest body of a [`CertificateRequest`]. A request for an RSA key of 4096 bits has under 2 KiB.
pub const MAX_CERTIFICATE_REQUEST: usize = 8 << 10;

/// First part of the URI in a certificate (SPIFFE-ID, section 2).
const PREFIX: &str = "spiffe://landbridge/ns/";

/// Longest namespace (RFC 1123, label).
const MAX_NAMESPACE: usize = 63;

/// Longest name of a service account (RFC 1123, subdomain).
const MAX_ACCOUNT: usize = 253;

/// A service account, as certificates name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkloadIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service_account: String,
}

/// A URI that names no service account of ours, or a name that cannot be in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// Not of the form `spiffe://landbridge/ns/NAMESPACE/sa/NAME`.
    #[error("the certificate names no service account ({PREFIX}NAMESPACE/sa/NAME)")]
    Uri,
    /// A name has other characters than names in Kubernetes.
    #[error("'{0}' cannot be the name of a namespace or service account")]
    Name(String),
}

impl WorkloadIdentity {
    /// Checks the names.
    ///
    /// # Errors
    /// One of them cannot be a name in Kubernetes, so that it could mean something else in a URI.
    pub fn new(namespace: &str, service_account: &str) -> Result<Self, BadIdentity> {
        for (name, longest) in [(namespace, MAX_NAMESPACE), (service_account, MAX_ACCOUNT)] {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            if name.is_empty() || name.len() > longest || !name.bytes().all(plain) {
                return Err(BadIdentity::Name(name.chars().take(longest).collect()));
            }
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        })
    }

    /// As the URI of a certificate.
    pub fn to_uri(&self) -> String {
        format!("{PREFIX}{}/sa/{}", self.namespace, self.service_account)
    }

    /// From the URIs of a certificate, of which exactly one must be ours.
    ///
    /// # Errors
    /// There is none, or more than one, or it is malformed.
    pub fn from_uris<'a>(uris: impl Iterator<Item = &'a str>) -> Result<Self, BadIdentity> {
        let mut uris = uris.filter_map(|uri| uri.strip_prefix(PREFIX));
        let (Some(rest), None) = (uris.next(), uris.next()) else {
            return Err(BadIdentity::Uri);
        };
        let (namespace, service_account) = rest.split_once("/sa/").ok_or(BadIdentity::Uri)?;
        Self::new(namespace, service_account)
    }
}

impl fmt::Display for WorkloadIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.service_account)
    }
}

/// Asks for a certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequest {
    /// PKCS#10 request as PEM (RFC 2986). It proves that the caller has the key; its names and extensions are ignored.
    pub csr: String,
}

/// A certificate, and whom to trust.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAnswer {
    /// The certificate as PEM, and those between it and the authority, if any.
    pub certificate: String,
    /// Trusted authorities as PEM: the present, the next and the former one.
    pub authority: String,
    /// How long the certificate counts from now on.
    pub valid_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_survives_the_certificate() {
        let account = WorkloadIdentity::new("shop", "system.cart-1").unwrap();
        assert_eq!(account.to_uri(), "spiffe://landbridge/ns/shop/sa/system.cart-1");
        let uris = ["urn:other", &account.to_uri()].map(str::to_owned);
        assert_eq!(
            WorkloadIdentity::from_uris(uris.iter().map(String::as_str)),
            Ok(account)
        );
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        for uris in [
            &[][..],
            &["spiffe://landbridge/ns/shop"],
            &["spiffe://landbridge/ns/shop/sa/"],
            &["spiffe://landbridge/ns//sa/cart"],
            &["spiffe://landbridge/ns/shop/sa/cart/more"],
            &["spiffe://landbridge/ns/a/b/sa/cart"],
            &["spiffe://landbridge/ns/Shop/sa/cart"],
            &["spiffe://landbridge/ns/shop%2Fx/sa/cart"],
            &["spiffe://other/ns/shop/sa/cart"],
            &[
                "spiffe://landbridge/ns/shop/sa/a",
                "spiffe://landbridge/ns/shop/sa/b",
            ],
        ] {
            assert!(
                WorkloadIdentity::from_uris(uris.iter().copied()).is_err(),
                "{uris:?}"
            );
        }
        assert!(WorkloadIdentity::new(&"n".repeat(64), "a").is_err());
        assert!(WorkloadIdentity::new("n", &"a".repeat(254)).is_err());
    }
}
