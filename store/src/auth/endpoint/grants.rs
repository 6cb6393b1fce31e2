//! The grants: what a client may ask a token for.
//!
//! | Grant | Token of | Source |
//! |---|---|---|
//! | `client_credentials` | the client | RFC 6749 section 4.4, seed L13186 |
//! | `urn:ietf:params:oauth:grant-type:jwt-bearer` | the user of the assertion | RFC 7523, seed L12351 |
//! | `password` | a user of an identity provider that the subaccount trusts | RFC 6749 section 4.3 |
//! | `refresh_token` | the user that the refresh token stands for | RFC 6749 section 6 |
//! | `user_token` | nobody: gives a refresh token of the bearer's user, for another client to redeem | Cloud Foundry UAA |

use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::error::OAuthError;
use super::form::Form;
use crate::api::Peer;
use crate::app::App;
use crate::auth::idp::{self, IdpError, SignedIn};
use crate::auth::refresh::{self, Content, HANDOVER_LIFE, SESSION_LIFE};
use crate::auth::roles;
use crate::auth::tenant::{self, Asked, Tenant};
use crate::auth::token::{Grant, Issued};
use crate::auth::users::{TrustedIssuer, User, user_claims};

pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) const USER_TOKEN: &str = "user_token";

/// All grants.
pub(super) const ALL: [&str; 5] = [
    "client_credentials",
    JWT_BEARER,
    "password",
    "refresh_token",
    USER_TOKEN,
];

/// The answer to a client that is known, for a tenant it may act for.
pub(super) async fn answer(
    app: &App,
    client: &Client,
    tenant: &Tenant,
    form: &Form,
    peer: Peer,
) -> Result<Value, OAuthError> {
    let Some(grant_type) = form.get("grant_type") else {
        let text = format!("grant_type is missing; send one of {}", ALL.join(", "));
        return Err(OAuthError::invalid_request(text));
    };
    let request = Request {
        app,
        client,
        tenant,
        form,
    };
    match grant_type {
        "client_credentials" => request.client_credentials(),
        JWT_BEARER => request.jwt_bearer().await,
        "password" => request.password(peer).await,
        "refresh_token" => request.refresh_token().await,
        _ => {
            let known = format!("this server knows the grants {}", ALL.join(", "));
            Err(OAuthError::new("unsupported_grant_type", known))
        }
    }
}

#[derive(Clone, Copy)]
struct Request<'a> {
    app: &'a App,
    client: &'a Client,
    tenant: &'a Tenant,
    form: &'a Form,
}

impl Request<'_> {
    fn client_credentials(self) -> Result<Value, OAuthError> {
        self.form.check_kind()?;
        let issued = self.issue("client_credentials", None)?;
        Ok(json(&issued))
    }

    /// C14: the user of another token gets one of this client.
    async fn jwt_bearer(self) -> Result<Value, OAuthError> {
        self.form.check_kind()?;
        let assertion = self.form.need("assertion")?;
        let user = self.app.users.verify(assertion, &self.tenant.id).await?;
        self.same_tenant(&user)?;
        let claims = user_claims(&user.claims, user.issuer.as_deref());
        Ok(json(&self.issue(JWT_BEARER, Some(claims))?))
    }

    /// A user of one tenant does not become one of another, also where both use the same instance.
    fn same_tenant(self, user: &User) -> Result<(), OAuthError> {
        match &user.subaccount_id {
            Some(id) if *id != self.tenant.id => Err(OAuthError::invalid_grant(
                "the assertion is of another tenant than the token is asked for; ask at the token address of the \
                 user's tenant, or send its id as X-zid",
            )),
            _ => Ok(()),
        }
    }

    async fn password(self, peer: Peer) -> Result<Value, OAuthError> {
        self.form.check_kind()?;
        let (user, password) = (self.form.need("username")?, self.form.need("password")?);
        let trusted = self.provider().await?;
        // Guessing passwords here would go past the provider's own count of one address's failures.
        let guessed = format!("{}/{}/{user}", self.tenant.id, trusted.name);
        if self.app.failures.is_blocked(&guessed, peer.0) {
            let text = "too many failures of this user from this address; wait a minute";
            return Err(OAuthError::too_many_failures(text));
        }
        let grant = [
            ("grant_type", "password"),
            ("username", user),
            ("password", password),
        ];
        let waiting = self.app.users.waiting(&self.tenant.id)?;
        let answer = idp::ask(&self.app.remote, &self.app.users, &trusted, &grant).await;
        drop(waiting);
        if matches!(answer, Err(IdpError::Refused(_))) {
            self.app.failures.failed(&guessed, peer.0);
        }
        self.signed_in("password", &trusted, answer?, None)
    }

    /// Which identity provider a password is for: the one named by `login_hint` (`{"origin": name}`), else the only one
    /// that has a client.
    async fn provider(self) -> Result<TrustedIssuer, OAuthError> {
        let issuers = self.app.users.issuers(&self.tenant.id).await?;
        let usable = issuers.into_iter().filter(|issuer| issuer.client_id.is_some());
        let origin = self.form.get("login_hint").map(origin).transpose()?;
        let mut fitting: Vec<_> = usable
            .filter(|issuer| origin.as_ref().is_none_or(|origin| *origin == issuer.name))
            .collect();
        match (fitting.pop(), fitting.is_empty()) {
            (Some(issuer), true) => Ok(issuer),
            (Some(_), false) => Err(OAuthError::invalid_request(
                "the subaccount trusts several identity providers; name one: login_hint={\"origin\":\"<name>\"}",
            )),
            (None, _) => Err(OAuthError::invalid_grant(
                "the subaccount trusts no identity provider of that name with a client_id; add one to its trusted \
                 issuers",
            )),
        }
    }

    async fn refresh_token(self) -> Result<Value, OAuthError> {
        self.form.check_kind()?;
        let given = SecretString::from(self.form.need("refresh_token")?.to_owned());
        let (app, now) = (self.app, jiff::Timestamp::now().as_second());
        let client_id = &self.client.row.key.client_id;
        let vault = &app.storage.vault;
        match refresh::open(vault, client_id, &self.tenant.id, &given, now)? {
            Content::User(claims) => {
                let issued = self.issue("refresh_token", Some(claims))?;
                Ok(with_refresh(&issued, &given))
            }
            Content::Session { issuer, token } => {
                let issuers = app.users.issuers(&self.tenant.id).await?;
                let Some(trusted) = issuers.into_iter().find(|one| one.name == issuer) else {
                    return Err(refresh::NotValid.into());
                };
                let grant = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token.expose_secret()),
                ];
                let _waiting = app.users.waiting(&self.tenant.id)?;
                let answer = idp::ask(&app.remote, &app.users, &trusted, &grant).await?;
                self.signed_in("refresh_token", &trusted, answer, Some(token))
            }
        }
    }

    /// The answer for a user that an identity provider has just vouched for. `before`: its refresh token, kept where it
    /// gave no new one.
    fn signed_in(
        self,
        grant_type: &str,
        trusted: &TrustedIssuer,
        signed_in: SignedIn,
        before: Option<SecretString>,
    ) -> Result<Value, OAuthError> {
        let claims = user_claims(&signed_in.user.claims, Some(&trusted.name));
        let issued = self.issue(grant_type, Some(claims))?;
        let Some(token) = signed_in.refresh_token.or(before) else {
            return Ok(json(&issued));
        };
        let session = Content::Session {
            issuer: trusted.name.clone(),
            token,
        };
        let client_id = &self.client.row.key.client_id;
        let sealed = sealed(self.app, client_id, &self.tenant.id, session, SESSION_LIFE)?;
        Ok(with_refresh(&issued, &sealed))
    }

    fn issue(self, grant_type: &str, user: Option<Map<String, Value>>) -> Result<Issued, OAuthError> {
        let scopes = self.scopes(user.is_some())?;
        let of_user = user.is_some();
        let issued = self.app.issuer.issue(Grant {
            client: &self.client.row,
            tenant: self.tenant,
            grant_type,
            scopes,
            user,
            thumbprint: self.client.thumbprint.clone(),
        })?;
        tracing::info!(
            client_id = self.client.row.key.client_id,
            subaccount = self.tenant.id,
            grant_type,
            of_user,
            jti = issued.jti,
            "token issued"
        );
        Ok(issued)
    }

    /// The scopes asked for, all held ones if none was. Tokens of users have that of users always, others never.
    fn scopes(self, of_user: bool) -> Result<Vec<String>, OAuthError> {
        let held = &self.client.row.key.scopes;
        let mut scopes = Vec::new();
        for asked in self
            .form
            .get("scope")
            .unwrap_or_default()
            .split_ascii_whitespace()
        {
            if of_user && asked == roles::USER {
                continue;
            }
            if !held.split_ascii_whitespace().any(|held| held == asked) {
                let text = format!("the client may ask for: {held}");
                return Err(OAuthError::new("invalid_scope", text));
            }
            scopes.push(asked.to_owned());
        }
        if self.form.get("scope").is_none_or(|asked| asked.trim().is_empty()) {
            scopes.extend(held.split_ascii_whitespace().map(str::to_owned));
        }
        if of_user {
            scopes.push(roles::USER.to_owned());
        }
        Ok(scopes)
    }
}

/// The name in `{"origin": "<name>"}`.
fn origin(hint: &str) -> Result<String, OAuthError> {
    let hint: Option<Value> = serde_json::from_str(hint).ok();
    hint.as_ref()
        .and_then(|hint| hint.get("origin")?.as_str())
        .map(str::to_owned)
        .ok_or_else(|| OAuthError::invalid_request("login_hint must be {\"origin\":\"<name>\"}"))
}

/// A user token as bearer gives a refresh token for another client, which redeems it with its own credentials.
pub(super) async fn user_token(
    app: &App,
    headers: &HeaderMap,
    form: &Form,
    asked: &Asked,
) -> Result<Value, OAuthError> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let Some(token) = bearer else {
        let text = "send a user token of this store as Authorization: Bearer";
        return Err(OAuthError::bad_bearer(text));
    };
    form.check_kind()?;
    let client_id = form.need("client_id")?;
    let no_client = || {
        OAuthError::new(
            "unauthorized_client",
            "client_id names no client for this user's tenant",
        )
    };
    // The token is checked before anything is said of clients.
    let caller = app.verifier.caller(token).await;
    let caller =
        caller.ok_or_else(|| OAuthError::bad_bearer("the user token is not valid here or has expired"))?;
    if !app.admits(&caller.client_id) {
        return Err(OAuthError::too_often());
    }
    let zid = caller.subaccount_id.clone();
    let user = app.users.verify(token, &zid).await;
    let user = user.map_err(|error| OAuthError::bad_bearer(error.to_string()))?;
    let row = app
        .storage
        .database
        .client(client_id)
        .await?
        .ok_or_else(no_client)?;
    let of_user = Asked {
        id: Some(zid.clone()),
        subdomain: asked.subdomain.clone(),
    };
    let tenant = tenant::choose(app, &row, &of_user)
        .await
        .map_err(|_| no_client())?;
    let claims = Content::User(user_claims(&user.claims, None));
    let token = sealed(app, client_id, &tenant.id, claims, HANDOVER_LIFE)?;
    Ok(json!({
        "access_token": null,
        "token_type": "bearer",
        "refresh_token": token.expose_secret(),
        "expires_in": HANDOVER_LIFE - 1,
        "scope": roles::USER,
    }))
}

fn sealed(
    app: &App,
    client_id: &str,
    tenant_id: &str,
    content: Content,
    life: i64,
) -> Result<SecretString, OAuthError> {
    let expires = jiff::Timestamp::now().as_second().saturating_add(life);
    refresh::seal(&app.storage.vault, client_id, tenant_id, content, expires).map_err(|error| {
        tracing::error!(%error, "a refresh token could not be sealed");
        OAuthError::server()
    })
}

/// The answer of seed L12364.
fn json(issued: &Issued) -> Value {
    json!({
        "access_token": issued.token,
        "token_type": "bearer",
        "expires_in": issued.expires_in,
        "scope": issued.scope,
        "jti": issued.jti,
    })
}

fn with_refresh(issued: &Issued, token: &SecretString) -> Value {
    let mut answer = json(issued);
    answer["refresh_token"] = token.expose_secret().into();
    answer
}
