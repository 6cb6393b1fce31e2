//! User tokens of every source through the find call: of this store, of an issuer its subaccount trusts, of the keys a
//! destination names. The token service is the store itself, so both halves are the real ones.

use landbridge_destination::Binding;
use landbridge_store::Access;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::oidc::Provider;
use crate::support::{FIND, Folder, Server, admin, claims, config, key, post_form};
use crate::tokens::{assert_error, destination, put};

pub(crate) struct Scene {
    pub(crate) server: Server,
    provider: Provider,
    /// The client that the destinations speak for.
    pub(crate) target: Binding,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let (server, provider) = (Server::start().await, Provider::start().await);
        let admin = admin(&server).await;
        admin
            .trust_issuer("sub-1", provider.trusted("idp"))
            .await
            .unwrap();
        admin.close().await;
        let target = key(&server.folder, &server, "sub-1", "target", Access::ReadOnly).await;
        Self {
            server,
            provider,
            target,
        }
    }

    /// A token of this store for jane, issued to the client of the server's key.
    pub(crate) async fn own_token(&self) -> String {
        let binding = &self.server.binding;
        let form = [
            ("grant_type", "password"),
            ("username", "jane@example.com"),
            ("password", "jane's password"),
            ("client_id", binding.client_id.as_str()),
            ("client_secret", binding.client_secret.expose_secret()),
        ];
        let answer = post_form(&self.server, "/oauth/token", &form, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn destination(&self, kind: &str, more: Value) -> Value {
        let mut destination = destination(&self.server.url("/oauth/token"), more);
        destination["Authentication"] = kind.into();
        destination["clientId"] = self.target.client_id.clone().into();
        destination["clientSecret"] = self.target.client_secret.expose_secret().into();
        destination
    }

    async fn find(&self, caller: &str, user: Option<&str>) -> Value {
        let bearer = format!("Bearer {caller}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(user.map(|user| ("x-user-token", user)));
        let path = format!("{FIND}/api");
        let found = self.server.call_with("GET", &path, "", &headers).await;
        assert_eq!(found.status, 200, "{}", found.text);
        found.json()["authTokens"][0].clone()
    }

    fn assert_for_jane(&self, token: &Value, what: &str) {
        assert_eq!(token["type"], "Bearer", "{what}: {token}");
        let said = claims(token["value"].as_str().unwrap());
        assert_eq!(
            (&said["user_name"], &said["cid"]),
            (&json!("jane"), &json!(self.target.client_id)),
            "{what}"
        );
    }
}

/// The scenarios of the seed (L13806-L13864) in the provider's tenant: by header, and by the token of the call itself.
#[tokio::test]
async fn users_of_the_store_and_of_trusted_issuers() {
    let scene = Scene::start().await;
    let (own, technical) = (scene.own_token().await, scene.server.token().await);
    let foreign = scene.provider.sign(&scene.provider.jane());
    for kind in ["OAuth2JWTBearer", "OAuth2UserTokenExchange"] {
        put(&scene.server, &scene.destination(kind, json!({}))).await;
        scene.assert_for_jane(&scene.find(&technical, Some(&own)).await, kind);
        scene.assert_for_jane(&scene.find(&own, None).await, "token of the call");
        scene.assert_for_jane(&scene.find(&own, Some("")).await, "empty header, T36");
        let nobody = scene.find(&technical, None).await;
        assert_error(&nobody, "the user token is refused");
        let client = scene.find(&technical, Some(&technical)).await;
        assert_error(&client, "the user token is refused");
    }
    put(&scene.server, &scene.destination("OAuth2JWTBearer", json!({}))).await;
    scene.assert_for_jane(&scene.find(&technical, Some(&foreign)).await, "trusted issuer");
    let stranger = Provider::start().await;
    let stranger = stranger.sign(&stranger.jane());
    let refused = scene.find(&technical, Some(&stranger)).await;
    assert_error(&refused, "the user token is refused");
}

/// T37 (seed L7186-L7203): the keys of the destination are fetched from their address, and only they count.
#[tokio::test]
async fn users_by_the_keys_of_a_destination_t37() {
    let scene = Scene::start().await;
    let technical = scene.server.token().await;
    let uri = format!("{}/keys", scene.provider.url);
    let more = json!({"x_user_token.jwks_uri": uri});
    put(&scene.server, &scene.destination("OAuth2JWTBearer", more)).await;
    let foreign = scene.provider.sign(&scene.provider.jane());
    for _ in 0..2 {
        scene.assert_for_jane(&scene.find(&technical, Some(&foreign)).await, "jwks_uri");
    }
    assert_eq!(
        scene.provider.key_calls(),
        1,
        "the store as issuer of the new token has the same keys at hand"
    );
    let own = scene.own_token().await;
    let refused = scene.find(&technical, Some(&own)).await;
    assert_error(&refused, "the user token is refused");
}

/// Seed L7196: an address inside is not asked.
#[tokio::test]
async fn keys_at_private_addresses_are_not_fetched() {
    let provider = Provider::start().await;
    let folder = Folder::new();
    let mut config = config(&folder);
    config.allow_private_token_services = false;
    let server = Server::start_with(folder, config).await;
    let user = provider.sign(&provider.jane());
    for uri in [
        format!("{}/keys", provider.url),
        "https://localhost/keys".to_owned(),
        "https://10.0.0.1/keys".to_owned(),
        "https://169.254.169.254/keys".to_owned(),
    ] {
        let more = json!({"x_user_token.jwks_uri": uri});
        let mut destination = destination("https://t.example.com/t", more);
        destination["Authentication"] = "OAuth2JWTBearer".into();
        put(&server, &destination).await;
        let bearer = format!("Bearer {}", server.token().await);
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-user-token", user.as_str()),
        ];
        let found = server
            .call_with("GET", &format!("{FIND}/api"), "", &headers)
            .await;
        assert_error(&found.json()["authTokens"][0], "the user token is refused");
    }
    assert_eq!(provider.key_calls(), 0);
}
