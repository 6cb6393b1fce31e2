//! Chains of two destinations (later API), each with a token service of its own.

use serde_json::{Value, json};

use crate::kinds_users::Scene;
use crate::support::{FIND, Server, TokenService};
use crate::tokens::{assert_error, destination, put};

async fn tokens(server: &Server, headers: &[(&str, &str)]) -> Value {
    let bearer = format!("Bearer {}", server.token().await);
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    let found = server.call_with("GET", &format!("{FIND}/api"), "", &all).await;
    assert_eq!(found.status, 200, "{}", found.text);
    let found = found.json();
    assert_eq!(found["destinationConfiguration"]["Name"], "api");
    found["authTokens"][0].clone()
}

/// What was sent under a name in the last call.
fn sent(server: &TokenService, name: &str) -> String {
    let (_, form) = server.last();
    let mut pairs = form_urlencoded::parse(form.as_bytes());
    let found = pairs.find(|(key, _)| key == name);
    found.unwrap_or_else(|| panic!("{name} in {form}")).1.into_owned()
}

#[tokio::test]
async fn an_assertion_is_exchanged_and_then_used() {
    let server = Server::start().await;
    let (exchange, exchange_url) = TokenService::start(async |_| {
        let answer = json!({"access_token": "PHNhbWw-", "token_type": "N_A", "expires_in": 300,
            "issued_token_type": "urn:ietf:params:oauth:token-type:saml2"});
        (200, answer.to_string())
    })
    .await;
    let (target, target_url) = TokenService::good().await;
    let first = json!({"Name": "ias", "Authentication": "OAuth2TokenExchange"});
    put(&server, &destination(&exchange_url, first)).await;
    let second = json!({"Authentication": "OAuth2SAMLBearerAssertion", "SAMLAssertionProvider": "ClientProvided",
        "clientKey": "key", "audience": "a", "authnContextClassRef": "c"});
    put(&server, &destination(&target_url, second)).await;
    let chain = [
        ("x-chain-name", "com.sap.iasGeneratedOAuth2SamlBearerAssertion"),
        ("x-chain-var-samlproviderdestinationname", "ias"),
        ("x-chain-var-subjecttoken", "of-the-user"),
        (
            "x-chain-var-subjecttokentype",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
    ];
    let token = tokens(&server, &chain).await;
    assert_eq!(token["value"], "token-1", "{token}");
    assert_eq!(sent(&exchange, "subject_token"), "of-the-user");
    assert_eq!(sent(&target, "assertion"), "PHNhbWw-");
    // Nothing of it is left for a call without the chain.
    assert_error(&tokens(&server, &[]).await, "X-samlAssertion");
}

#[tokio::test]
async fn a_users_token_is_transformed_and_then_used() {
    let scene = Scene::start().await;
    let server = &scene.server;
    let (first, first_url) = TokenService::good().await;
    let (second, second_url) = TokenService::good().await;
    let transform = json!({"Name": "transform", "Authentication": "OAuth2JWTBearer"});
    put(server, &destination(&first_url, transform)).await;
    put(
        server,
        &destination(&second_url, json!({"Authentication": "OAuth2JWTBearer"})),
    )
    .await;
    let user = scene.own_token().await;
    let chain = [
        ("x-chain-name", "com.sap.sequentialUserPropagation"),
        ("x-chain-var-tokentransformationdestinationname", "transform"),
        ("x-chain-var-usertoken", user.as_str()),
    ];
    // What the first token service gave is no user's token of anybody the store knows.
    assert_error(&tokens(server, &chain).await, "the user token is refused");
    assert_eq!(sent(&first, "assertion"), user);
    assert_eq!(second.calls(), 0);
    // With the store itself as the first token service it is.
    put(
        server,
        &scene.destination("OAuth2JWTBearer", json!({"Name": "transform"})),
    )
    .await;
    let token = tokens(server, &chain).await;
    assert_eq!(token["value"], "token-1", "{token}");
    let transformed = crate::support::claims(&sent(&second, "assertion"));
    assert_eq!(
        (&transformed["user_name"], &transformed["cid"]),
        (&json!("jane"), &json!(scene.target.client_id))
    );
    let mut unknown = chain;
    unknown[1].1 = "nowhere";
    let bearer = format!("Bearer {}", server.token().await);
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(unknown);
    let answer = server
        .call_with("GET", &format!("{FIND}/api"), "", &headers)
        .await;
    assert_eq!(answer.status, 404, "{}", answer.text);
}
