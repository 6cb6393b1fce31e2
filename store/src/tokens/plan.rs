//! What has to be done for the token of a destination: from its properties and what the call brought along to a
//! [`Work`].

use std::sync::Arc;

use landbridge_destination::oauth::{RequestError, provided_assertion_type, takes_client_assertions};
use landbridge_destination::properties::keys;
use landbridge_destination::{Authentication, DestinationConfig};
use secrecy::SecretString;
use serde_json::Value;

use super::TokenContext;
use super::fetch::FetchError;
use super::given::{AssertionSource, GivenToken};
use super::saml::SamlSource;
use super::signing::{Signers, SigningKey};
use super::surroundings::{Identity, KnownUser, Surroundings, UserKeys};
use super::work::{Material, OwnedGrant, Proof, Work};
use crate::db::Place;

/// Why there is no plan.
pub(super) enum NoPlan {
    /// An entry in the answer.
    Reason(String),
    /// The call lacks what the kind needs: 400.
    BadRequest(String),
}

impl From<FetchError> for NoPlan {
    fn from(error: FetchError) -> Self {
        Self::Reason(error.reason)
    }
}

impl From<String> for NoPlan {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

/// A user with the token that says so.
struct Speaker {
    token: SecretString,
    known: KnownUser,
}

/// The rest of the store, and the signing keys that were read already.
pub(super) type Around<'a> = (&'a dyn Surroundings, &'a Signers);

/// Makes the plan.
pub(super) async fn plan(
    (around, signers): Around<'_>,
    context: &TokenContext<'_>,
    config: &DestinationConfig,
    kind: &Authentication,
) -> Result<Work, NoPlan> {
    let speaker = if needs_user(config, kind) || user_decides_tenant(context, config) {
        Some(speaker(around, context, config).await?)
    } else {
        None
    };
    let material = material((around, signers), context, config, kind, speaker.as_ref()).await?;
    let proof = match kind {
        Authentication::SAMLAssertion => Proof::Properties,
        _ => proof(around, context, config, kind).await?,
    };
    // A tenant that is asked for wins (later API), then that of the user (seed L13789), then the caller's own (L6959).
    let of_user = speaker.and_then(|speaker| speaker.known.subdomain);
    let subdomain = match (context.tenant, of_user) {
        (Some(tenant), _) => tenant.to_owned(),
        (None, Some(tenant)) => tenant,
        (None, None) => context.subdomain.to_owned(),
    };
    Ok(Work {
        config: config.clone(),
        subaccount_id: context.subaccount_id.to_owned(),
        owner: context.owner.to_owned(),
        subdomain,
        material,
        proof,
    })
}

fn is_saml(kind: &Authentication) -> bool {
    use Authentication as A;
    matches!(kind, A::OAuth2SAMLBearerAssertion | A::SAMLAssertion)
}

fn client_provides_saml(config: &DestinationConfig, kind: &Authentication) -> bool {
    let provider = config.text(keys::SAML_ASSERTION_PROVIDER);
    *kind == Authentication::OAuth2SAMLBearerAssertion
        && provider.is_some_and(|word| word.eq_ignore_ascii_case("ClientProvided"))
}

fn needs_user(config: &DestinationConfig, kind: &Authentication) -> bool {
    use Authentication as A;
    match kind {
        A::OAuth2JWTBearer | A::OAuth2UserTokenExchange => true,
        kind if is_saml(kind) => {
            config.text(keys::SYSTEM_USER).is_none() && !client_provides_saml(config, kind)
        }
        _ => false,
    }
}

/// A user that is named decides the tenant of a `Common` token service, also of kinds that need none (seed L1266-L1280).
fn user_decides_tenant(context: &TokenContext<'_>, config: &DestinationConfig) -> bool {
    let common = config
        .text(keys::TOKEN_SERVICE_URL_TYPE)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("Common"));
    common && context.tenant.is_none() && context.given.user_token.is_some()
}

/// The user, verified (seed L13789-L13799, L7186-L7203).
async fn speaker(
    around: &dyn Surroundings,
    context: &TokenContext<'_>,
    config: &DestinationConfig,
) -> Result<Speaker, FetchError> {
    let Some((token, from_header)) = context.given.user() else {
        let reason = "a user token is needed; send it as X-user-token, or call with a token of the user";
        return Err(reason.to_owned().into());
    };
    let inline = config.text(keys::USER_TOKEN_JWKS).map(UserKeys::Inline);
    let own_keys = inline.or_else(|| config.text(keys::USER_TOKEN_JWKS_URI).map(UserKeys::Uri));
    let known = match own_keys.filter(|_| from_header) {
        // Whoever has these keys is no authority about tenants: the destination's own is meant.
        Some(keys) => KnownUser {
            claims: around.claims(keys, token).await?,
            subdomain: None,
        },
        None => around.user(token, context.subaccount_id).await?,
    };
    Ok(Speaker {
        token: token.into(),
        known,
    })
}

async fn material(
    around: Around<'_>,
    context: &TokenContext<'_>,
    config: &DestinationConfig,
    kind: &Authentication,
    speaker: Option<&Speaker>,
) -> Result<Material, NoPlan> {
    use Authentication as A;
    let given = context.given;
    let token = || speaker.map(|speaker| speaker.token.clone()).unwrap_or_default();
    let needed = |header: &Option<SecretString>, name: &str| {
        let message = || NoPlan::BadRequest(format!("{kind} needs the header {name}; send it"));
        header.clone().ok_or_else(message)
    };
    let copy = |given: &GivenToken| GivenToken {
        token: given.token.clone(),
        kind: given.kind.clone(),
    };
    let grant = match kind {
        A::OAuth2UserTokenExchange => return Ok(Material::UserExchange(token())),
        A::OAuth2SAMLBearerAssertion if client_provides_saml(config, kind) => {
            let missing = "SAMLAssertionProvider is ClientProvided, so the call needs the header X-samlAssertion; send it";
            let assertion = given.saml_assertion.clone();
            OwnedGrant::Saml(assertion.ok_or_else(|| missing.to_owned())?)
        }
        kind if is_saml(kind) => {
            let claims = speaker.map_or(&Value::Null, |speaker| &speaker.known.claims);
            let signer = signer(around, context, config).await?;
            return Ok(Material::Saml(SamlSource::new(config, claims, signer)?));
        }
        A::OAuth2Password => OwnedGrant::Password,
        A::OAuth2JWTBearer => OwnedGrant::JwtBearer(token()),
        A::OAuth2RefreshToken => OwnedGrant::Refresh(needed(&given.refresh_token, "X-refresh-token")?),
        A::OAuth2AuthorizationCode => OwnedGrant::Code {
            code: needed(&given.code, "X-code")?,
            redirect_uri: given.redirect_uri.clone(),
            verifier: given.code_verifier.clone(),
        },
        A::OAuth2TokenExchange => {
            let Some(subject) = &given.subject else {
                let message =
                    format!("{kind} needs the headers X-subject-token and X-subject-token-type; send them");
                return Err(NoPlan::BadRequest(message));
            };
            OwnedGrant::Exchange {
                subject: copy(subject),
                actor: given.actor.as_ref().map(copy),
            }
        }
        _ => OwnedGrant::ClientCredentials,
    };
    Ok(Material::Grant(grant))
}

/// The destination's own key, else that of its subaccount (seed L6928).
async fn signer(
    (around, signers): Around<'_>,
    context: &TokenContext<'_>,
    config: &DestinationConfig,
) -> Result<Arc<SigningKey>, FetchError> {
    let Some(name) = config.text(keys::KEY_STORE_LOCATION) else {
        return around.signing_key(context.subaccount_id).await;
    };
    let identity = identity(around, context, config, name, keys::KEY_STORE_PASSWORD).await?;
    let key = signers.of(&identity).await;
    Ok(key.map_err(|error| error.to_string())?)
}

async fn identity(
    around: &dyn Surroundings,
    context: &TokenContext<'_>,
    config: &DestinationConfig,
    name: &str,
    password: &str,
) -> Result<Arc<Identity>, FetchError> {
    let password = config.get(password).filter(|password| !password.is_empty());
    around
        .identity(&place(context), name, password.map(SecretString::from))
        .await
}

fn place(context: &TokenContext<'_>) -> Place {
    Place {
        subaccount_id: context.subaccount_id.to_owned(),
        owner: context.owner.to_owned(),
    }
}

/// How the client proves who it is: what the caller sent, a destination that provides assertions, a certificate, or the
/// properties (seed L9913-L9938, L8973).
async fn proof(
    around: &dyn Surroundings,
    context: &TokenContext<'_>,
    config: &DestinationConfig,
    kind: &Authentication,
) -> Result<Proof, FetchError> {
    let provider = match &context.given.assertion {
        AssertionSource::Caller(assertion) if takes_client_assertions(kind) => {
            return Ok(Proof::Caller(assertion.clone()));
        }
        AssertionSource::Caller(_) => return Err(RequestError::Assertion(kind.clone()).into()),
        AssertionSource::Provider(name) => Some(name.as_str()),
        AssertionSource::Properties => config.text(keys::CLIENT_ASSERTION_DESTINATION),
    };
    if let Some(name) = provider {
        if !takes_client_assertions(kind) {
            return Err(RequestError::Assertion(kind.clone()).into());
        }
        return assertion_provider(around, context, config, name).await;
    }
    match config.text(keys::TOKEN_SERVICE_KEY_STORE) {
        Some(name) => {
            let password = keys::TOKEN_SERVICE_KEY_STORE_PASSWORD;
            let identity = identity(around, context, config, name, password).await?;
            Ok(Proof::Certificate(identity))
        }
        None => Ok(Proof::Properties),
    }
}

async fn assertion_provider(
    around: &dyn Surroundings,
    context: &TokenContext<'_>,
    config: &DestinationConfig,
    name: &str,
) -> Result<Proof, FetchError> {
    if name == config.name() {
        let reason = format!(
            "the destination \"{name}\" cannot provide the client assertion for itself; name another"
        );
        return Err(reason.into());
    }
    let Some(provider) = around.destination(&place(context), name).await? else {
        return Err(format!(
            "the destination \"{name}\", which is to provide the client assertion, is not there; create it on the same \
             level as this one (subaccount or service instance)"
        )
        .into());
    };
    let kind = provided_assertion_type(&provider).map_err(|error| error.to_string())?;
    let proof = match provider.text(keys::TOKEN_SERVICE_KEY_STORE) {
        Some(store) => {
            let password = keys::TOKEN_SERVICE_KEY_STORE_PASSWORD;
            Proof::Certificate(identity(around, context, &provider, store, password).await?)
        }
        None => Proof::Properties,
    };
    let work = Work {
        config: provider,
        subaccount_id: context.subaccount_id.to_owned(),
        owner: context.owner.to_owned(),
        subdomain: context.tenant.unwrap_or(context.subdomain).to_owned(),
        material: Material::Grant(OwnedGrant::ClientCredentials),
        proof,
    };
    Ok(Proof::Provider {
        kind,
        work: Arc::new(work),
    })
}
