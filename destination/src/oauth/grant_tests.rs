use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::properties::{Authentication, DestinationConfig, ProxyType};

fn bag(kind: &str, more: &[(&str, &str)]) -> DestinationConfig {
    let base = [
        ("Name", "d"),
        ("Authentication", kind),
        ("tokenServiceURL", "https://h.example/t"),
        ("clientId", "c"),
        ("clientSecret", "s"),
    ];
    base.iter().chain(more).copied().collect()
}

fn without(config: &DestinationConfig, key: &str) -> DestinationConfig {
    let mut config = config.clone();
    config.remove(key);
    config
}

fn ask(
    config: &DestinationConfig,
    grant: &Grant<'_>,
    proof: ClientProof<'_>,
) -> Result<TokenRequest, RequestError> {
    token_request(config, Some("mytenant"), grant, proof)
}

fn body(config: &DestinationConfig, grant: &Grant<'_>) -> String {
    let request = ask(config, grant, ClientProof::Properties).unwrap();
    request.body.expose_secret().to_owned()
}

fn authorization(request: &TokenRequest) -> Option<&str> {
    request
        .headers
        .get("authorization")
        .map(|value| value.to_str().unwrap())
}

/// T25 (seed L8404), T26 (L9181), T27 (L9426), T35 (L12348), RFC 7522, RFC 8693: the whole form of every grant.
#[test]
fn forms_of_the_grants() {
    let token = SecretString::from("tok/en");
    let id = "urn:ietf:params:oauth:token-type:id_token";
    let typed = TypedToken {
        token: &token,
        kind: id,
    };
    let redirect = Some("https://app.example/cb?x=1");
    let cases: [(&str, Grant<'_>, &str, bool); 8] = [
        (
            "OAuth2Password",
            Grant::Password,
            "grant_type=password&client_id=c&client_secret=s&username=P123&password=p+w&scope=read",
            true,
        ),
        (
            "OAuth2JWTBearer",
            Grant::JwtBearer { assertion: &token },
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&client_id=c&client_secret=s&token_format=jwt\
             &response_type=token&assertion=tok%2Fen&scope=read",
            true,
        ),
        (
            "OAuth2UserTokenExchange",
            Grant::UserToken { token: &token },
            "grant_type=user_token&client_id=c&response_type=token&scope=read",
            true,
        ),
        (
            "OAuth2RefreshToken",
            Grant::RefreshToken { token: &token },
            "grant_type=refresh_token&client_id=c&client_secret=s&refresh_token=tok%2Fen&scope=read",
            false,
        ),
        (
            "OAuth2AuthorizationCode",
            Grant::AuthorizationCode {
                code: &token,
                redirect_uri: redirect,
                verifier: Some(&token),
            },
            "grant_type=authorization_code&client_id=c&client_secret=s&code=tok%2Fen\
             &redirect_uri=https%3A%2F%2Fapp.example%2Fcb%3Fx%3D1&code_verifier=tok%2Fen&scope=read",
            false,
        ),
        (
            "OAuth2AuthorizationCode",
            Grant::AuthorizationCode {
                code: &token,
                redirect_uri: None,
                verifier: None,
            },
            "grant_type=authorization_code&client_id=c&client_secret=s&code=tok%2Fen&scope=read",
            false,
        ),
        (
            "OAuth2TokenExchange",
            Grant::TokenExchange {
                subject: typed,
                actor: Some(typed),
            },
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&client_id=c&client_secret=s\
             &subject_token=tok%2Fen&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token\
             &actor_token=tok%2Fen&actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token&scope=read",
            true,
        ),
        (
            "OAuth2ClientCredentials",
            Grant::ClientCredentials,
            "grant_type=client_credentials&client_id=c&client_secret=s&scope=read",
            true,
        ),
    ];
    for (kind, grant, expected, repeatable) in cases {
        let config = bag(kind, &[("User", "P123"), ("Password", "p w"), ("scope", "read")]);
        let request = ask(&config, &grant, ClientProof::Properties).unwrap();
        assert_eq!(request.body.expose_secret(), expected, "{kind}");
        assert_eq!(request.repeatable, repeatable, "{kind}");
        let shown = format!("{request:?}{grant:?}");
        assert!(!shown.contains("tok/en"), "{shown}");
    }
}

/// Seed L7697: the user's token is the credential of the first step.
#[test]
fn user_token_is_the_credential() {
    let config = bag("OAuth2UserTokenExchange", &[("tokenServiceUser", "u")]);
    let token = SecretString::from("jwt");
    let request = ask(
        &config,
        &Grant::UserToken { token: &token },
        ClientProof::Properties,
    )
    .unwrap();
    assert_eq!(authorization(&request), Some("Bearer jwt"));
    assert!(request.headers["authorization"].is_sensitive());
}

/// T47: S/4HANA (seed L10795), SuccessFactors (L10966), CF to CF (L11190): the client key is the client id, the Basic
/// pair is that of the token service, and there is no secret in the body.
#[test]
fn saml_bearer_forms_t47() {
    let assertion = SecretString::from("PHNhbWw-");
    let grant = Grant::SamlBearer {
        assertion: &assertion,
    };
    let plain =
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer&client_id=key&assertion=PHNhbWw-";
    let company = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer&client_id=key&company_id=SF&assertion=PHNhbWw-";
    let user = [("tokenServiceUser", "u"), ("tokenServicePassword", "p")];
    for (more, authorized, expected) in [
        (&user[..], Some("Basic dTpw"), plain),
        (&[("companyId", "SF")][..], None, company),
        (
            &[("tokenService.addClientCredentialsInBody", "false")][..],
            None,
            plain,
        ),
    ] {
        let mut config = bag("OAuth2SAMLBearerAssertion", more);
        config.set("clientKey", "key");
        let request = ask(&config, &grant, ClientProof::Properties).unwrap();
        assert_eq!(request.body.expose_secret(), expected);
        assert_eq!(authorization(&request), authorized);
    }
    let config = without(&bag("OAuth2SAMLBearerAssertion", &[]), "clientId");
    let error = ask(&config, &grant, ClientProof::Properties).unwrap_err();
    assert_eq!(error, RequestError::Missing("clientKey"));
}

/// T28 (seed L9837): an assertion takes the place of every other proof, a certificate that of every secret (L8973).
#[test]
fn proofs_instead_of_secrets_t28() {
    let assertion = ClientAssertion {
        kind: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".into(),
        assertion: "ey.J".into(),
    };
    assert!(!format!("{assertion:?}").contains("ey.J"));
    let config = bag(
        "OAuth2ClientCredentials",
        &[("tokenServiceUser", "u"), ("tokenServicePassword", "p")],
    );
    for config in [&config, &without(&config, "clientSecret")] {
        let request = ask(
            config,
            &Grant::ClientCredentials,
            ClientProof::Assertion(&assertion),
        )
        .unwrap();
        assert_eq!(
            request.body.expose_secret(),
            "grant_type=client_credentials&client_id=c\
             &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=ey.J"
        );
        assert_eq!(authorization(&request), None);
        let request = ask(config, &Grant::ClientCredentials, ClientProof::Certificate).unwrap();
        assert_eq!(
            request.body.expose_secret(),
            "grant_type=client_credentials&client_id=c"
        );
        assert_eq!(authorization(&request), None);
    }
}

/// T32 (seed L9872-L9875).
#[test]
fn who_may_use_and_provide_assertions_t32() {
    let assertion = ClientAssertion {
        kind: "urn:x".into(),
        assertion: "a".into(),
    };
    let token = SecretString::from("t");
    let refused = ask(
        &bag("OAuth2JWTBearer", &[]),
        &Grant::JwtBearer { assertion: &token },
        ClientProof::Assertion(&assertion),
    )
    .unwrap_err();
    assert_eq!(refused, RequestError::Assertion(Authentication::OAuth2JWTBearer));
    let users: Vec<_> = Authentication::ALL
        .iter()
        .filter(|kind| takes_client_assertions(kind))
        .collect();
    assert_eq!(users.len(), 4, "{users:?}");

    let jwt = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let typed = ("clientAssertion.type", jwt);
    assert_eq!(
        provided_assertion_type(&bag("OAuth2ClientCredentials", &[typed])),
        Ok(jwt)
    );
    for (kind, more, expected) in [
        (
            "OAuth2Password",
            &[typed][..],
            "must have Authentication=OAuth2ClientCredentials",
        ),
        (
            "OAuth2ClientCredentials",
            &[][..],
            "needs clientAssertion.type with",
        ),
        (
            "OAuth2ClientCredentials",
            &[("clientAssertion.type", "urn:x")][..],
            "needs clientAssertion.type with",
        ),
        (
            "OAuth2ClientCredentials",
            &[typed, ("clientAssertion.destinationName", "d")][..],
            "cannot use another one's",
        ),
    ] {
        let error = provided_assertion_type(&bag(kind, more)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    for (kind, good) in [(jwt, true), ("urn:x", true), ("jwt-bearer", false), ("", false)] {
        assert_eq!(check_client_assertion_type(kind).is_ok(), good, "{kind}");
    }
}

#[test]
fn secrets_are_needed_except_by_public_clients() {
    let token = SecretString::from("t");
    let code = Grant::AuthorizationCode {
        code: &token,
        redirect_uri: None,
        verifier: Some(&token),
    };
    let config = |kind| without(&bag(kind, &[]), "clientSecret");
    assert_eq!(
        body(&config("OAuth2AuthorizationCode"), &code),
        "grant_type=authorization_code&client_id=c&code=t&code_verifier=t"
    );
    let jwt = Grant::JwtBearer { assertion: &token };
    for (kind, grant, missing) in [
        ("OAuth2JWTBearer", jwt, "clientSecret"),
        (
            "OAuth2ClientCredentials",
            Grant::ClientCredentials,
            "clientSecret",
        ),
    ] {
        let error = ask(&config(kind), &grant, ClientProof::Properties).unwrap_err();
        assert_eq!(error, RequestError::Missing(missing));
    }
    let error = ask(
        &bag("OAuth2Password", &[]),
        &Grant::Password,
        ClientProof::Properties,
    )
    .unwrap_err();
    assert_eq!(error, RequestError::Missing("User"));
}

/// T33 (seed L9505): the target is behind a connector, its token service is not.
#[test]
fn technical_user_propagation_asks_directly_t33() {
    for (kind, more, expected) in [
        ("OAuth2TechnicalUserPropagation", &[][..], ProxyType::Internet),
        (
            "OAuth2TechnicalUserPropagation",
            &[("tokenServiceURL.ProxyType", "OnPremise")][..],
            ProxyType::OnPremise,
        ),
        ("OAuth2ClientCredentials", &[][..], ProxyType::OnPremise),
    ] {
        let mut config = bag(kind, more);
        config.set("ProxyType", "OnPremise");
        let request = ask(&config, &Grant::ClientCredentials, ClientProof::Properties).unwrap();
        assert_eq!(request.proxy_type, expected, "{kind}");
    }
}

/// Seed L7697: the first half of the exchange has no access token.
#[test]
fn refresh_tokens_of_the_first_step() {
    let long = "x".repeat(16 * 1024 + 1);
    let long = format!(r#"{{"refresh_token":"{long}"}}"#);
    for (status, body, expected) in [
        (200, r#"{"access_token":null,"refresh_token":"r"}"#, Ok("r")),
        (200, r#"{"access_token":"a"}"#, Err("no refresh_token")),
        (200, r#"{"refresh_token":""}"#, Err("is empty")),
        (200, long.as_str(), Err("longer than 16 KiB")),
        (
            401,
            r#"{"error":"unauthorized"}"#,
            Err("answered 401: unauthorized"),
        ),
        (200, "<html>", Err("not the JSON")),
    ] {
        let read = read_refresh_token(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        match (read, expected) {
            (Ok(token), Ok(expected)) => assert_eq!(token.expose_secret(), expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (read, expected) => panic!("{read:?} {expected:?}"),
        }
    }
}

/// RFC 8693 section 2.2.1.
#[test]
fn the_type_of_an_exchanged_token_is_kept() {
    let body = br#"{"access_token":"t","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}"#;
    let token = read_answer(StatusCode::OK, body, std::time::SystemTime::now()).unwrap();
    assert_eq!(
        token.issued_token_type.as_deref(),
        Some("urn:ietf:params:oauth:token-type:access_token")
    );
}
