//! Chains: a find call that first has another destination make a token, which the one asked for then works with (later
//! API).

use http::HeaderMap;
use landbridge_destination::AuthToken;
use secrecy::SecretString;

use super::asked::{self, FragmentsAsked, Version, single};
use crate::api::error::ApiError;
use crate::tokens::Given;
use crate::tokens::given::GivenToken;

/// The chains there are.
const SAML_BY_EXCHANGE: &str = "com.sap.iasGeneratedOAuth2SamlBearerAssertion";
const USER_BY_USER: &str = "com.sap.sequentialUserPropagation";

/// What every error of a chain starts with.
const FAILED: &str =
    "Retrieval of OAuthToken failed due to: the first destination of the chain has no token: ";

/// A chain that was asked for.
#[derive(Debug)]
pub(crate) struct Chain {
    kind: Kind,
    /// The destination whose token is needed first; with its level in the second call.
    pub(crate) destination: String,
    pub(crate) fragments: FragmentsAsked,
}

#[derive(Debug)]
enum Kind {
    /// A SAML assertion is exchanged for the subject's token and then used as the caller's own.
    SamlByExchange { subject: GivenToken },
    /// The user's token is transformed, and the result is the user's token.
    UserByUser { user_token: SecretString },
}

/// Reads `X-chain-name` and its variables.
///
/// # Errors
/// 400: an unknown chain, a variable that is missing, or a header that the chain would replace.
pub(crate) fn read(headers: &HeaderMap, version: Version) -> Result<Option<Chain>, ApiError> {
    let Some(name) = single(headers, "x-chain-name")? else {
        return Ok(None);
    };
    let (prefix, destination, kind) = match name {
        SAML_BY_EXCHANGE => {
            let subject = GivenToken {
                token: variable(headers, "x-chain-var-subjecttoken")?.to_owned().into(),
                kind: variable(headers, "x-chain-var-subjecttokentype")?.to_owned(),
            };
            replaced(headers, name, "x-samlassertion")?;
            let destination = variable(headers, "x-chain-var-samlproviderdestinationname")?;
            (
                "x-chain-var-samlprovider",
                destination,
                Kind::SamlByExchange { subject },
            )
        }
        USER_BY_USER => {
            let user_token = variable(headers, "x-chain-var-usertoken")?.to_owned().into();
            replaced(headers, name, "x-user-token")?;
            let destination = variable(headers, "x-chain-var-tokentransformationdestinationname")?;
            (
                "x-chain-var-tokentransformation",
                destination,
                Kind::UserByUser { user_token },
            )
        }
        _ => {
            return Err(ApiError::bad_request(format!(
                "X-chain-name is none of {SAML_BY_EXCHANGE} and {USER_BY_USER}"
            )));
        }
    };
    let fragment = single(headers, &format!("{prefix}fragmentname"))?;
    let optional = single(headers, &format!("{prefix}fragmentoptional"))?;
    Ok(Some(Chain {
        kind,
        destination: destination.to_owned(),
        fragments: asked::read_fragments(fragment, optional, version)?,
    }))
}

fn variable<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, ApiError> {
    single(headers, name)?
        .ok_or_else(|| ApiError::bad_request(format!("The chain needs the header {name}; send it")))
}

fn replaced(headers: &HeaderMap, chain: &str, name: &str) -> Result<(), ApiError> {
    if single(headers, name)?.is_some() {
        return Err(ApiError::bad_request(format!(
            "The chain {chain} makes what {name} is for; leave that header out"
        )));
    }
    Ok(())
}

impl Chain {
    /// What the first destination works with.
    pub(crate) fn first(&self) -> Given {
        match &self.kind {
            Kind::SamlByExchange { subject } => Given {
                subject: Some(GivenToken {
                    token: subject.token.clone(),
                    kind: subject.kind.clone(),
                }),
                ..Given::default()
            },
            Kind::UserByUser { user_token } => Given {
                user_token: Some(user_token.clone()),
                ..Given::default()
            },
        }
    }

    /// What the destination asked for works with: what the call brought along, and the first one's token.
    ///
    /// # Errors
    /// The entry that tells why there is no token.
    pub(crate) fn second(
        &self,
        mut given: Given,
        tokens: Option<Vec<AuthToken>>,
    ) -> Result<Given, Box<AuthToken>> {
        let failed = |reason: &str| Box::new(AuthToken::failed(format!("{FAILED}{reason}")));
        let Some(token) = tokens.into_iter().flatten().next() else {
            return Err(failed("its authentication type makes none; choose one that does"));
        };
        if token.is_error() {
            return Err(failed(token.error.as_deref().unwrap_or_default()));
        }
        match &self.kind {
            Kind::SamlByExchange { .. } => given.saml_assertion = Some(token.value),
            Kind::UserByUser { .. } => given.user_token = Some(token.value),
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    const SAML: &[(&str, &str)] = &[
        ("x-chain-name", SAML_BY_EXCHANGE),
        ("x-chain-var-samlproviderdestinationname", "ias"),
        ("x-chain-var-subjecttoken", "t"),
        ("x-chain-var-subjecttokentype", "urn:x"),
        ("x-chain-var-samlproviderfragmentname", "f"),
        ("x-chain-var-samlproviderfragmentoptional", "true"),
    ];
    const USER: &[(&str, &str)] = &[
        ("x-chain-name", USER_BY_USER),
        ("x-chain-var-tokentransformationdestinationname", "first"),
        ("x-chain-var-usertoken", "u"),
    ];

    fn of(headers: &[(&'static str, &'static str)]) -> Result<Option<Chain>, ApiError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        read(&map, Version::V1)
    }

    #[test]
    fn both_chains_hand_the_token_on() {
        let saml = of(SAML).unwrap().unwrap();
        assert_eq!(saml.destination, "ias");
        assert!(saml.fragments.optional && saml.fragments.names[0].0 == "f");
        assert_eq!(saml.first().subject.unwrap().kind, "urn:x");
        let token = || Some(vec![AuthToken::authorization("Bearer", &"made".into())]);
        let given = saml.second(Given::default(), token()).unwrap();
        assert_eq!(given.saml_assertion.unwrap().expose_secret(), "made");
        let user = of(USER).unwrap().unwrap();
        assert_eq!(user.first().user_token.unwrap().expose_secret(), "u");
        let given = user.second(Given::default(), token()).unwrap();
        assert_eq!(given.user_token.unwrap().expose_secret(), "made");
        for tokens in [None, Some(Vec::new()), Some(vec![AuthToken::failed("why")])] {
            let failed = user.second(Given::default(), tokens).unwrap_err();
            assert!(failed.error.unwrap().starts_with(FAILED));
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_told() {
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&[("x-chain-name", "com.sap.other")]).is_err());
        for (chain, needed) in [(SAML, 4), (USER, 3)] {
            for left_out in 1..needed {
                let mut headers = chain.to_vec();
                let (name, _) = headers.remove(left_out);
                let error = of(&headers).unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
            }
        }
        for (chain, header) in [(SAML, "x-samlassertion"), (USER, "x-user-token")] {
            let mut headers = chain.to_vec();
            headers.push((header, "x"));
            assert!(of(&headers).unwrap_err().to_string().contains(header));
        }
    }
}
