//! Every kind of authentication with a token, through the find call: T25-T37, and what the later API adds.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::{Answer, FIND, Server, TokenService, good_token};
use crate::tokens::{assert_error, destination, put};

/// Whoever issues the users' tokens.
struct UserIssuer {
    key: EncodingKey,
}

impl UserIssuer {
    fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self { key }
    }

    /// Value of `x_user_token.jwks`.
    fn jwks(&self) -> String {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::RS256).unwrap();
        STANDARD.encode(json!({"keys": [jwk]}).to_string())
    }

    fn token(&self, user: &str) -> String {
        let expires = jsonwebtoken::get_current_timestamp() + 600;
        let claims = json!({"user_name": user, "exp": expires, "ext_attr": {"zdn": "stranger"}});
        encode(&Header::new(Algorithm::RS256), &claims, &self.key).unwrap()
    }
}

fn of_kind(kind: &str, url: &str, more: Value) -> Value {
    let mut destination = destination(url, more);
    destination["Authentication"] = kind.into();
    destination
}

async fn find(server: &Server, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {}", server.token().await);
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    server.call_with("GET", &format!("{FIND}/api"), "", &all).await
}

async fn token(server: &Server, headers: &[(&str, &str)]) -> Value {
    let found = find(server, headers).await;
    assert_eq!(found.status, 200, "{}", found.text);
    found.json()["authTokens"][0].clone()
}

/// T25 (seed L8404), kept.
#[tokio::test]
async fn password_t25() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let more = json!({"User": "TechnicalUser", "Password": "p w"});
    put(&server, &of_kind("OAuth2Password", &url, more)).await;
    for _ in 0..2 {
        assert_eq!(token(&server, &[]).await["value"], "token-1");
    }
    let form = "grant_type=password&client_id=id&client_secret=hunter2&username=TechnicalUser&password=p+w";
    assert_eq!(service.forms(), [form]);
}

/// T26 (seed L9181-L9203): the new refresh token goes to the caller (L13423).
#[tokio::test]
async fn refresh_token_t26() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    put(&server, &of_kind("OAuth2RefreshToken", &url, json!({}))).await;
    for number in 1..3 {
        let token = token(&server, &[("x-refresh-token", "old")]).await;
        assert_eq!(token["value"], format!("token-{number}"), "never kept");
        assert_eq!(token["refresh_token"], "r");
    }
    let form = "grant_type=refresh_token&client_id=id&client_secret=hunter2&refresh_token=old";
    assert_eq!(service.last().1, form);
    for headers in [&[][..], &[("x-refresh-token", "")][..]] {
        let missing = find(&server, headers).await;
        assert_eq!(missing.status, 400);
        assert!(missing.message().contains("X-refresh-token"), "{}", missing.text);
    }
}

/// T27 (seed L9426-L9453): a code is used once, whatever happens.
#[tokio::test]
async fn authorization_code_t27() {
    let (service, url) = TokenService::start(async |number| match number {
        1 => (200, good_token(1)),
        _ => (503, String::new()),
    })
    .await;
    let server = Server::start().await;
    put(&server, &of_kind("OAuth2AuthorizationCode", &url, json!({}))).await;
    let headers = [
        ("x-code", "c0de"),
        ("x-redirect-uri", "https%3A%2F%2Fapp.example%2Fcb"),
        ("x-code-verifier", "ver"),
    ];
    assert_eq!(token(&server, &headers).await["value"], "token-1");
    let form = "grant_type=authorization_code&client_id=id&client_secret=hunter2&code=c0de\
                &redirect_uri=https%3A%2F%2Fapp.example%2Fcb&code_verifier=ver";
    assert_eq!(service.last().1, form);
    assert_error(&token(&server, &headers).await, "answered 503");
    assert_eq!(service.calls(), 2, "not sent again");
    let missing = find(&server, &headers[1..]).await;
    assert_eq!(missing.status, 400);
    assert!(missing.message().contains("X-code"), "{}", missing.text);
    let path = format!("{FIND}/api?$skipTokenRetrieval=true");
    assert_eq!(
        server.call("GET", &path, "").await.status,
        200,
        "nothing is needed without tokens"
    );
}

/// T35-T37 (seed L12348, L13789, L7186): the user's token is checked with the keys of the destination, then exchanged.
#[tokio::test]
async fn jwt_bearer_t35_to_t37() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let (issuer, stranger) = (UserIssuer::new(), UserIssuer::new());
    let common = url.replace("/oauth/token", "/{tenant}/token");
    let more = json!({"x_user_token.jwks": issuer.jwks(), "tokenServiceURLType": "Common"});
    put(&server, &of_kind("OAuth2JWTBearer", &common, more)).await;
    let (jane, john) = (issuer.token("jane"), issuer.token("john"));
    let first = token(&server, &[("x-user-token", &jane)]).await;
    assert_eq!(
        (&first["type"], &first["value"]),
        (&json!("Bearer"), &json!("token-1"))
    );
    assert_eq!(
        service.last().0.uri.path(),
        "/mytenant/token",
        "keys of the destination do not decide the tenant"
    );
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&client_id=id&client_secret=hunter2\
         &token_format=jwt&response_type=token&assertion={jane}"
    );
    assert_eq!(service.last().1, form);
    for (user, expected) in [(&jane, "token-1"), (&john, "token-2"), (&jane, "token-1")] {
        let token = token(&server, &[("x-user-token", user)]).await;
        assert_eq!(token["value"], expected, "each user has a token of its own");
    }
    for (user, expected) in [
        (
            stranger.token("jane"),
            "the user token is refused: its signature is wrong",
        ),
        ("rubbish".to_owned(), "the user token is refused"),
    ] {
        assert_error(&token(&server, &[("x-user-token", &user)]).await, expected);
    }
    // T36: empty is as none, and then the token of the call would have to be a user's.
    for headers in [&[][..], &[("x-user-token", "")][..]] {
        assert_error(&token(&server, headers).await, "the user token is refused");
    }
    assert_eq!(service.calls(), 2);
}

/// T37 (seed L7186-L7203).
#[tokio::test]
async fn keys_that_cannot_be_used_t37() {
    let server = Server::start().await;
    let user = UserIssuer::new().token("jane");
    for (more, expected) in [
        (
            json!({"x_user_token.jwks": "{}"}),
            "x_user_token.jwks is no base64",
        ),
        (
            json!({"x_user_token.jwks": STANDARD.encode("{}")}),
            "\"keys\" with a list is missing",
        ),
        (
            json!({"x_user_token.jwks_uri": "ftp://h/keys"}),
            "the user token is refused",
        ),
    ] {
        put(
            &server,
            &of_kind("OAuth2JWTBearer", "https://t.example.com/t", more),
        )
        .await;
        assert_error(&token(&server, &[("x-user-token", &user)]).await, expected);
    }
}

/// Seed L7697-L7705: the user's token for a refresh token, that for an access token.
#[tokio::test]
async fn user_token_exchange() {
    let (service, url) = TokenService::start(async |number| match number % 2 {
        1 => (200, r#"{"access_token":null,"refresh_token":"half"}"#.to_owned()),
        _ => (200, good_token(number)),
    })
    .await;
    let server = Server::start().await;
    let issuer = UserIssuer::new();
    let more = json!({"x_user_token.jwks": issuer.jwks(), "scope": "read"});
    put(&server, &of_kind("OAuth2UserTokenExchange", &url, more)).await;
    let user = issuer.token("jane");
    for _ in 0..2 {
        let token = token(&server, &[("x-user-token", &user)]).await;
        assert_eq!(token["value"], "token-2");
    }
    let forms = [
        "grant_type=user_token&client_id=id&response_type=token&scope=read",
        "grant_type=refresh_token&client_id=id&client_secret=hunter2&refresh_token=half&scope=read",
    ];
    assert_eq!(service.forms(), forms, "two calls, then kept");
}

#[tokio::test]
async fn user_token_exchange_says_which_step_failed() {
    let (_, url) = TokenService::start(async |_| {
        (
            401,
            r#"{"error":"unauthorized","error_description":"no uaa.user"}"#.to_owned(),
        )
    })
    .await;
    let server = Server::start().await;
    let issuer = UserIssuer::new();
    let more = json!({"x_user_token.jwks": issuer.jwks()});
    put(&server, &of_kind("OAuth2UserTokenExchange", &url, more)).await;
    let token = token(&server, &[("x-user-token", &issuer.token("jane"))]).await;
    let expected = "Retrieval of OAuthToken failed due to: Unable to fetch refresh token from the specified token \
                    service URL. Response was: the token service answered 401: unauthorized (no uaa.user)";
    assert_error(&token, expected);
}

/// T33 (seed L9754-L9781): the token service is asked directly, the token goes into a header of its own.
#[tokio::test]
async fn technical_user_propagation_t33() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let more = json!({"ProxyType": "OnPremise"});
    put(&server, &of_kind("OAuth2TechnicalUserPropagation", &url, more)).await;
    let token = token(&server, &[]).await;
    assert_eq!(token["type"], "Bearer");
    assert_eq!(
        token["http_header"],
        json!({"key": "SAP-Connectivity-Technical-Authentication", "value": "Bearer token-1"})
    );
    assert_eq!(service.calls(), 1);
}

/// RFC 8693 (later API).
#[tokio::test]
async fn token_exchange() {
    let issued = "urn:ietf:params:oauth:token-type:access_token";
    let (service, url) = TokenService::start(move |number| {
        let answer = json!({"access_token": format!("token-{number}"), "token_type": "Bearer", "issued_token_type": issued});
        std::future::ready((200, answer.to_string()))
    })
    .await;
    let server = Server::start().await;
    put(&server, &of_kind("OAuth2TokenExchange", &url, json!({}))).await;
    let subject = [("x-subject-token", "sub"), ("x-subject-token-type", "urn:x:id")];
    let actor = [("x-actor-token", "act"), ("x-actor-token-type", "urn:x:act")];
    let found = token(&server, &subject).await;
    assert_eq!(
        (&found["value"], &found["issued_token_type"]),
        (&json!("token-1"), &json!(issued))
    );
    assert_eq!(
        token(&server, &[subject, actor].concat()).await["value"],
        "token-2"
    );
    let form = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&client_id=id&client_secret=hunter2\
                &subject_token=sub&subject_token_type=urn%3Ax%3Aid&actor_token=act&actor_token_type=urn%3Ax%3Aact";
    assert_eq!(service.last().1, form);
    for headers in [&[][..], &subject[..1], &[subject[0], subject[1], actor[1]][..]] {
        assert_eq!(find(&server, headers).await.status, 400, "{headers:?}");
    }
}

const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn provider(url: &str, more: Value) -> Value {
    let mut provider = destination(url, more);
    provider["Name"] = "provider".into();
    provider["clientId"] = "assertion-client".into();
    provider
}

/// T28 (seed L9837-L9854), T31 (L9913-L9915): the caller's own assertion, and no look at the provider.
#[tokio::test]
async fn assertions_of_the_caller_t28_t31() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let more = json!({"clientSecret": "", "clientAssertion.destinationName": "provider"});
    put(&server, &destination(&url, more)).await;
    let headers = [("x-client-assertion-type", JWT), ("x-client-assertion", "ey.J")];
    assert_eq!(token(&server, &headers).await["value"], "token-1");
    let form = "grant_type=client_credentials&client_id=id\
                &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                &client_assertion=ey.J";
    assert_eq!(service.last().1, form);
    // T30 (seed L9937).
    let mixed = [
        headers[0],
        headers[1],
        ("x-client-assertion-destination-name", "provider"),
    ];
    let refused = find(&server, &mixed).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.message().starts_with("Cannot mix header"),
        "{}",
        refused.text
    );
    assert_eq!(find(&server, &headers[..1]).await.status, 400);
}

/// T29 (seed L9944-L9961): the provider's token is the consumer's assertion; the header names another provider.
#[tokio::test]
async fn assertions_of_a_destination_t29() {
    let (issuing, issuing_url) = TokenService::good().await;
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let typed = json!({"clientAssertion.type": JWT});
    put(&server, &provider(&issuing_url, typed)).await;
    let more = json!({"clientSecret": "", "clientAssertion.destinationName": "provider"});
    put(&server, &destination(&url, more)).await;
    for _ in 0..2 {
        assert_eq!(token(&server, &[]).await["value"], "token-1");
    }
    let form = "grant_type=client_credentials&client_id=assertion-client&client_secret=hunter2";
    assert_eq!(issuing.forms(), [form]);
    let form = "grant_type=client_credentials&client_id=id\
                &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                &client_assertion=token-1";
    assert_eq!(service.forms(), [form]);

    let mut other = destination(&url, json!({"clientAssertion.destinationName": "nobody"}));
    put(&server, &other).await;
    let header = [("x-client-assertion-destination-name", "provider")];
    assert_eq!(
        token(&server, &header).await["type"],
        "Bearer",
        "L9932: the header wins"
    );
    assert_error(&token(&server, &[]).await, "\"nobody\", which is to provide");
    other["clientAssertion.destinationName"] = "api".into();
    put(&server, &other).await;
    assert_error(&token(&server, &[]).await, "for itself");
}

/// T32 (seed L9872-L9875).
#[tokio::test]
async fn wrong_providers_and_consumers_t32() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let consumer = json!({"clientAssertion.destinationName": "provider"});
    put(&server, &destination(&url, consumer)).await;
    let password = json!({"Authentication": "OAuth2Password", "User": "u", "Password": "p", "clientAssertion.type": JWT});
    let chained = json!({"clientAssertion.type": JWT, "clientAssertion.destinationName": "api"});
    for (more, expected) in [
        (password, "must have Authentication=OAuth2ClientCredentials"),
        (json!({}), "needs clientAssertion.type"),
        (
            json!({"clientAssertion.type": "urn:x"}),
            "needs clientAssertion.type",
        ),
        (chained, "cannot use another one's"),
    ] {
        put(&server, &provider(&url, more)).await;
        assert_error(&token(&server, &[]).await, expected);
    }
    put(&server, &provider(&url, json!({"clientAssertion.type": JWT}))).await;
    for more in [json!({"clientAssertion.destinationName": "provider"}), json!({})] {
        put(&server, &of_kind("OAuth2RefreshToken", &url, more.clone())).await;
        let mut headers = vec![("x-refresh-token", "r")];
        if more == json!({}) {
            headers.extend([("x-client-assertion-type", JWT), ("x-client-assertion", "a")]);
        }
        assert_error(&token(&server, &headers).await, "client assertions go with");
    }
    assert_eq!(service.calls(), 0);
}

/// An assertion that cannot be had is the provider's trouble, and is said to be.
#[tokio::test]
async fn a_failing_provider_is_named() {
    let (_, issuing_url) = TokenService::start(async |_| (401, String::new())).await;
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    put(
        &server,
        &provider(&issuing_url, json!({"clientAssertion.type": JWT})),
    )
    .await;
    put(
        &server,
        &destination(&url, json!({"clientAssertion.destinationName": "provider"})),
    )
    .await;
    let expected =
        "the client assertion of the destination \"provider\" cannot be had: the token service answered 401";
    assert_error(&token(&server, &[]).await, expected);
    assert_eq!(service.calls(), 0);
}

/// The caller brings the assertion (later API).
#[tokio::test]
async fn a_saml_assertion_of_the_caller() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let more = json!({"SAMLAssertionProvider": "ClientProvided", "clientKey": "key", "audience": "a", "authnContextClassRef": "c"});
    put(&server, &of_kind("OAuth2SAMLBearerAssertion", &url, more)).await;
    assert_eq!(
        token(&server, &[("x-samlassertion", "PHNhbWw-")]).await["value"],
        "token-1"
    );
    let form =
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer&client_id=key&assertion=PHNhbWw-";
    assert_eq!(service.last().1, form);
    assert_error(&token(&server, &[]).await, "needs the header X-samlAssertion");
}
