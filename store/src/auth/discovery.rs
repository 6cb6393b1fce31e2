//! What an issuer says of itself (OpenID Connect Discovery 1.0).

use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use super::remote::{Remote, RemoteClient, RemoteError};

/// The discovery document, as far as it is used.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct IssuerDocument {
    issuer: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint: Option<String>,
}

/// Addresses of an issuer, checked.
#[derive(Debug, Clone)]
pub(crate) struct IssuerAddresses {
    pub(crate) jwks_uri: Url,
    pub(crate) token_endpoint: Option<Url>,
}

/// Finds out the addresses of issuers.
#[derive(Debug)]
pub(crate) struct Discovery {
    client: RemoteClient,
    documents: Remote<IssuerDocument>,
}

impl Discovery {
    pub(crate) fn new(client: RemoteClient) -> Self {
        let parse = |body: &[u8]| {
            serde_json::from_slice(body).map_err(|error| format!("it is no discovery document: {error}"))
        };
        Self {
            documents: Remote::new(client.clone(), parse),
            client,
        }
    }

    /// The addresses of an issuer. Its document has to name exactly this issuer (Discovery section 4.3): otherwise
    /// whoever answers there could speak for another one.
    pub(crate) async fn addresses(&self, issuer: &str) -> Result<IssuerAddresses, RemoteError> {
        let base = issuer.trim_end_matches('/');
        let url = self
            .client
            .address(&format!("{base}/.well-known/openid-configuration"))?;
        let document: Arc<IssuerDocument> = self.documents.get(&url, |_| true).await?;
        if document.issuer != issuer {
            return Err(RemoteError::Content(format!(
                "{url} names the issuer \"{}\"; set exactly that text as the issuer",
                document.issuer.chars().take(200).collect::<String>()
            )));
        }
        let token_endpoint = document
            .token_endpoint
            .as_deref()
            .map(|address| self.client.address(address))
            .transpose()?;
        Ok(IssuerAddresses {
            jwks_uri: self.client.address(&document.jwks_uri)?,
            token_endpoint,
        })
    }
}
