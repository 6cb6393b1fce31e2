//! Requests to the store: paths, headers and queries of its REST calls.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderValue, Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::binding::Binding;
use crate::error::StoreError;
use crate::selector::DestinationSelector;

/// What a name may have unescaped in a path (RFC 3986 section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// One find call.
#[derive(Debug, Clone)]
pub struct FindQuery {
    /// Which destination.
    pub selector: DestinationSelector,
    /// Subdomain of the tenant whose token service is asked (`X-tenant`), for `tokenServiceURLType=Common`.
    pub tenant: Option<String>,
    /// Token of the calling user (`X-user-token`), for kinds that need it.
    pub user_token: Option<SecretString>,
    /// Only the configuration, no tokens.
    pub skip_token_retrieval: bool,
    /// Asks for tokens that are not from the store's cache (`Cache-Control: no-cache`), because the target has just
    /// refused the one it gave. Stores that do not know this answer as ever.
    pub renew_token: bool,
    /// `ETag` of the answer one has already.
    pub if_none_match: Option<String>,
}

impl FindQuery {
    /// Everything by default but the selector.
    pub fn new(selector: DestinationSelector) -> Self {
        Self {
            selector,
            tenant: None,
            user_token: None,
            skip_token_retrieval: false,
            renew_token: false,
            if_none_match: None,
        }
    }

    /// The request, not yet authorized. A named level asks version 2, which does not search other levels.
    pub(super) fn request(
        &self,
        binding: &Binding,
        etag: Option<&str>,
    ) -> Result<Request<Bytes>, StoreError> {
        let selector = &self.selector;
        let name = utf8_percent_encode(&selector.name, SEGMENT);
        let mut path = match selector.level {
            Some(level) => format!("destination-configuration/v2/destinations/{name}@{level}"),
            None => format!("destination-configuration/v1/destinations/{name}"),
        };
        if self.skip_token_retrieval {
            path.push_str("?$skipTokenRetrieval=true");
        }
        let mut request = Request::get(address(binding, &path)).header(ACCEPT, "application/json");
        if self.renew_token {
            request = request.header(CACHE_CONTROL, "no-cache");
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("x-tenant", tenant);
        }
        if let Some(token) = &self.user_token {
            let mut value =
                HeaderValue::from_str(token.expose_secret()).map_err(|_| bad("the user token"))?;
            value.set_sensitive(true);
            request = request.header("x-user-token", value);
        }
        if let Some(fragment) = &selector.fragment {
            let name = match fragment.level {
                Some(level) => format!("{}@{level}", fragment.name),
                None => fragment.name.clone(),
            };
            request = request.header("x-fragment-name", name);
            if fragment.optional {
                request = request.header("x-fragment-optional", "true");
            }
        }
        if let Some(chain) = &selector.chain {
            request = request.header("x-chain-name", &chain.name);
            for variable in &chain.variables {
                request = request.header(format!("x-chain-var-{}", variable.name), &variable.value);
            }
        }
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        request
            .body(Bytes::new())
            .map_err(|_| bad("a name, level, tenant or variable"))
    }
}

/// A request to the subaccount destinations, all or one.
pub(super) fn subaccount_request(
    binding: &Binding,
    method: Method,
    name: Option<&str>,
    body: Bytes,
) -> Result<Request<Bytes>, StoreError> {
    let mut path = "destination-configuration/v1/subaccountDestinations".to_owned();
    if let Some(name) = name {
        path.push('/');
        path.extend(utf8_percent_encode(name, SEGMENT));
    }
    let mut request = Request::builder()
        .method(method)
        .uri(address(binding, &path))
        .header(ACCEPT, "application/json");
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(body).map_err(|_| bad("the name"))
}

pub(super) fn address(binding: &Binding, path: &str) -> String {
    format!("{}/{path}", binding.uri.as_str().trim_end_matches('/'))
}

fn bad(what: &str) -> StoreError {
    let reason = format!("{what} has a character that cannot be sent; remove blanks and control characters");
    StoreError::BadRequest { status: 400, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::levels::Level;
    use crate::selector::{ChainSelector, ChainVariable, FragmentSelector};

    fn binding(uri: &str) -> Binding {
        let key = format!(
            r#"{{"clientid":"a","clientsecret":"b","url":"https://auth.example.com","uri":"{uri}"}}"#
        );
        Binding::from_json(&key).unwrap()
    }

    #[test]
    fn plain_find() {
        for uri in [
            "https://d.example.com",
            "https://d.example.com/",
            "https://d.example.com/base/",
        ] {
            let request = FindQuery::new(DestinationSelector::named("a b/\u{e4}"))
                .request(&binding(uri), None)
                .unwrap();
            let expected = format!(
                "{}/destination-configuration/v1/destinations/a%20b%2F%C3%A4",
                uri.trim_end_matches('/')
            );
            assert_eq!(request.uri().to_string(), expected);
        }
    }

    #[test]
    fn full_find() {
        let mut query = FindQuery::new(DestinationSelector::named("erp"));
        query.selector.level = Some(Level::ProviderSubaccount);
        query.selector.fragment = Some(FragmentSelector {
            name: "f".into(),
            level: Some(Level::Instance),
            optional: true,
        });
        let variables = vec![ChainVariable {
            name: "userToken".into(),
            value: "v".into(),
        }];
        query.selector.chain = Some(ChainSelector {
            name: "c".into(),
            variables,
        });
        query.tenant = Some("sub".into());
        query.user_token = Some("jwt".into());
        query.skip_token_retrieval = true;
        let request = query
            .request(&binding("https://d.example.com"), Some("\"e\""))
            .unwrap();
        assert_eq!(
            request.uri().path_and_query().unwrap().as_str(),
            "/destination-configuration/v2/destinations/erp@provider_subaccount?$skipTokenRetrieval=true"
        );
        for (name, value) in [
            ("x-tenant", "sub"),
            ("x-user-token", "jwt"),
            ("x-fragment-name", "f@instance"),
            ("x-fragment-optional", "true"),
            ("x-chain-name", "c"),
            ("x-chain-var-usertoken", "v"),
            ("if-none-match", "\"e\""),
        ] {
            assert_eq!(request.headers().get(name).unwrap(), value, "{name}");
        }
        assert!(!format!("{request:?}").contains("jwt"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let mut query = FindQuery::new(DestinationSelector::named("erp"));
        query.user_token = Some("a\r\nb".into());
        assert!(matches!(
            query.request(&binding("https://d.example.com"), None),
            Err(StoreError::BadRequest { .. })
        ));
    }
}
