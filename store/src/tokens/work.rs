//! One retrieval: everything it needs, so that it can be made again when its token ends.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use landbridge_destination::oauth::{
    self, ClientAssertion, ClientProof, Grant, RequestError, Token, TokenRequest, TypedToken,
};
use landbridge_destination::token_cache::TokenKey;
use landbridge_destination::{Authentication, DestinationConfig};
use secrecy::{ExposeSecret, SecretString};

use super::core::Core;
use super::fetch::{FetchError, Tls};
use super::given::GivenToken;
use super::saml::{self, SamlSource};
use super::surroundings::Identity;

/// What becomes a token.
#[derive(Debug)]
pub(super) enum Material {
    /// By one call of the token service.
    Grant(OwnedGrant),
    /// A user's token, by two calls.
    UserExchange(SecretString),
    /// An assertion of ours: for the token service, or as it is.
    Saml(SamlSource),
}

/// A [`Grant`] with what it is made of.
#[derive(Debug)]
pub(super) enum OwnedGrant {
    ClientCredentials,
    Password,
    JwtBearer(SecretString),
    Refresh(SecretString),
    Code {
        code: SecretString,
        redirect_uri: Option<String>,
        verifier: Option<SecretString>,
    },
    Exchange {
        subject: GivenToken,
        actor: Option<GivenToken>,
    },
    /// An assertion the caller brought, in base64.
    Saml(SecretString),
}

/// What stands for the client.
#[derive(Debug)]
pub(super) enum Proof {
    Properties,
    Caller(ClientAssertion),
    /// The token of another destination (seed L9866-L9972).
    Provider {
        kind: &'static str,
        work: Arc<Work>,
    },
    Certificate(Arc<Identity>),
}

/// A retrieval.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) config: DestinationConfig,
    pub(super) subaccount_id: String,
    /// Instance that owns the destination, or empty.
    pub(super) owner: String,
    /// Subdomain of the tenant the token is for.
    pub(super) subdomain: String,
    pub(super) material: Material,
    pub(super) proof: Proof,
}

impl Work {
    /// Whether its token is kept. What is good for one use gives a token once.
    pub(super) fn is_kept(&self) -> bool {
        let once = matches!(
            self.material,
            Material::Grant(OwnedGrant::Code { .. } | OwnedGrant::Refresh(_))
        );
        !once
    }

    /// Everything that decides which token comes back: whose destination, all that it says, for which tenant, on whose
    /// behalf, and by which proof. A digest, so secrets are safe in it.
    pub(super) fn key(&self) -> TokenKey {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(48);
        for part in [&self.subaccount_id, &self.owner, &self.subdomain] {
            parts.push(part.as_bytes());
        }
        // Their number too, so that no property looks like what comes after.
        let properties = self.config.len().to_be_bytes();
        parts.push(&properties);
        for (key, value) in self.config.iter() {
            parts.extend([key.as_bytes(), value.as_bytes()]);
        }
        self.material.identify(&mut parts);
        let provider;
        match &self.proof {
            Proof::Properties => parts.push(b"properties"),
            Proof::Caller(assertion) => parts.extend([
                b"caller".as_slice(),
                assertion.kind.as_bytes(),
                assertion.assertion.expose_secret().as_bytes(),
            ]),
            Proof::Provider { kind, work } => {
                provider = work.key().bytes();
                parts.extend([b"provider".as_slice(), kind.as_bytes(), &provider]);
            }
            Proof::Certificate(identity) => parts.extend([b"certificate".as_slice(), identity.id()]),
        }
        TokenKey::of(parts)
    }

    /// Makes it.
    pub(super) fn run(self: Arc<Self>, core: Arc<Core>) -> BoxFuture<'static, Result<Token, FetchError>> {
        Box::pin(async move {
            let assertion = self.client_assertion(&core).await?;
            let proof = match (&assertion, &self.proof) {
                (Some(assertion), _) => ClientProof::Assertion(assertion),
                (None, Proof::Certificate(_)) => ClientProof::Certificate,
                (None, _) => ClientProof::Properties,
            };
            match &self.material {
                Material::UserExchange(token) => self.exchange_user(&core, token, proof).await,
                Material::Saml(source) => self.with_assertion(&core, source, proof).await,
                Material::Grant(grant) => {
                    let request = self.request(&grant.as_grant(), proof)?;
                    core.call(&self.subaccount_id, &request, self.tls()).await
                }
            }
        })
    }

    async fn client_assertion(&self, core: &Arc<Core>) -> Result<Option<ClientAssertion>, FetchError> {
        match &self.proof {
            Proof::Caller(assertion) => Ok(Some(assertion.clone())),
            Proof::Provider { kind, work } => {
                let name = work.config.name();
                let provided = core.kept(Arc::clone(work)).await.map_err(|error| FetchError {
                    reason: format!(
                        "the client assertion of the destination \"{name}\" cannot be had: {error}"
                    ),
                    pause: error.pause,
                })?;
                Ok(Some(ClientAssertion {
                    kind: (*kind).to_owned(),
                    assertion: provided.token.access_token.clone(),
                }))
            }
            Proof::Properties | Proof::Certificate(_) => Ok(None),
        }
    }

    /// Two steps: the user's token for a refresh token of the client, that for an access token (seed L7697-L7705).
    async fn exchange_user(
        &self,
        core: &Arc<Core>,
        token: &SecretString,
        proof: ClientProof<'_>,
    ) -> Result<Token, FetchError> {
        let first = self.request(&Grant::UserToken { token }, proof)?;
        let refresh = core.refresh_token(&self.subaccount_id, &first, self.tls()).await;
        let refresh = refresh.map_err(|error| FetchError {
            reason: format!(
                "Unable to fetch refresh token from the specified token service URL. Response was: {error}"
            ),
            pause: error.pause,
        })?;
        let second = self.request(&Grant::RefreshToken { token: &refresh }, proof)?;
        core.call(&self.subaccount_id, &second, self.tls()).await
    }

    async fn with_assertion(
        &self,
        core: &Arc<Core>,
        source: &SamlSource,
        proof: ClientProof<'_>,
    ) -> Result<Token, FetchError> {
        if self.config.authentication() == Authentication::SAMLAssertion {
            return Ok(saml::as_token(source.assertion(&self.config, None).await?));
        }
        let recipient = saml::recipient(&self.config, Some(&self.subdomain))?;
        let assertion = source.assertion(&self.config, Some(&recipient)).await?;
        let request = self.request(
            &Grant::SamlBearer {
                assertion: &assertion,
            },
            proof,
        )?;
        core.call(&self.subaccount_id, &request, self.tls()).await
    }

    fn request(&self, grant: &Grant<'_>, proof: ClientProof<'_>) -> Result<TokenRequest, RequestError> {
        oauth::token_request(&self.config, Some(&self.subdomain), grant, proof)
    }

    fn tls(&self) -> Tls {
        Tls {
            trust_all: self.config.trust_all(),
            identity: match &self.proof {
                Proof::Certificate(identity) => Some(Arc::clone(identity)),
                _ => None,
            },
        }
    }
}

impl OwnedGrant {
    fn as_grant(&self) -> Grant<'_> {
        match self {
            Self::ClientCredentials => Grant::ClientCredentials,
            Self::Password => Grant::Password,
            Self::JwtBearer(token) => Grant::JwtBearer { assertion: token },
            Self::Refresh(token) => Grant::RefreshToken { token },
            Self::Code {
                code,
                redirect_uri,
                verifier,
            } => Grant::AuthorizationCode {
                code,
                redirect_uri: redirect_uri.as_deref(),
                verifier: verifier.as_ref(),
            },
            Self::Exchange { subject, actor } => Grant::TokenExchange {
                subject: typed(subject),
                actor: actor.as_ref().map(typed),
            },
            Self::Saml(assertion) => Grant::SamlBearer { assertion },
        }
    }
}

impl Material {
    fn identify<'a>(&'a self, parts: &mut Vec<&'a [u8]>) {
        fn secret(secret: &SecretString) -> &[u8] {
            secret.expose_secret().as_bytes()
        }
        match self {
            Self::UserExchange(token) => parts.push(secret(token)),
            Self::Saml(source) => parts.push(source.id()),
            Self::Grant(OwnedGrant::ClientCredentials | OwnedGrant::Password) => {}
            Self::Grant(
                OwnedGrant::JwtBearer(token)
                | OwnedGrant::Refresh(token)
                | OwnedGrant::Saml(token)
                | OwnedGrant::Code { code: token, .. },
            ) => parts.push(secret(token)),
            Self::Grant(OwnedGrant::Exchange { subject, actor }) => {
                for token in [Some(subject), actor.as_ref()].into_iter().flatten() {
                    parts.extend([token.kind.as_bytes(), secret(&token.token)]);
                }
            }
        }
    }
}

fn typed(given: &GivenToken) -> TypedToken<'_> {
    TypedToken {
        token: &given.token,
        kind: &given.kind,
    }
}
