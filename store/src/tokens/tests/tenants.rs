use super::service::Service;
use super::*;

/// Which tenant's token service is asked: the one that is asked for, the user's, the caller's own (seed L1266-L1280,
/// L13789-L13799).
#[tokio::test]
async fn the_tenant_of_common_token_services() {
    let service = Service::start().await;
    let url = service.url("/{tenant}/token");
    let header = Given {
        bearer: Some("client".into()),
        user_token: Some(USER.into()),
        ..Given::default()
    };
    let client = Given {
        bearer: Some("client".into()),
        ..Given::default()
    };
    let engine = engine(Around::default());
    for (kind, keys, given, asked, expected) in [
        ("OAuth2JWTBearer", false, by_user(), None, "usertenant"),
        ("OAuth2JWTBearer", false, by_user(), Some("asked"), "asked"),
        // Keys of the destination's own do not vouch for tenants.
        ("OAuth2JWTBearer", true, header, None, "home"),
        ("OAuth2ClientCredentials", false, client, None, "home"),
        ("OAuth2ClientCredentials", false, by_user(), None, "home"),
        (
            "OAuth2ClientCredentials",
            false,
            Given {
                user_token: Some(USER.into()),
                ..Given::default()
            },
            None,
            "usertenant",
        ),
    ] {
        let mut config = config(&[
            ("Name", "d"),
            ("Authentication", kind),
            ("clientId", "c"),
            ("clientSecret", "s"),
            ("tokenServiceURL", &url),
            ("tokenServiceURLType", "Common"),
        ]);
        if keys {
            config.set("x_user_token.jwks", "e30=");
        }
        let context = TokenContext {
            tenant: asked,
            renew: true,
            ..context(&given)
        };
        let tokens = engine.auth_tokens(&context, &config).await.unwrap().unwrap();
        assert_eq!(tokens[0].error, None);
        let path = service.last().0.uri.path().to_owned();
        assert_eq!(path, format!("/{expected}/token"), "{kind} {asked:?}");
    }
}

/// A token is given to the user it was fetched for, and to nobody whose token is not good.
#[tokio::test]
async fn kept_tokens_are_for_verified_users() {
    let service = Service::start().await;
    let config = config(&[
        ("Name", "d"),
        ("Authentication", "OAuth2JWTBearer"),
        ("clientId", "c"),
        ("clientSecret", "s"),
        ("tokenServiceURL", &service.url("/t")),
    ]);
    let engine = engine(Around::default());
    for _ in 0..2 {
        let token = good(&engine, &config, &by_user()).await;
        assert_eq!(token.value.expose_secret(), "token-1");
    }
    let stranger = Given {
        bearer: Some("stranger".into()),
        ..Given::default()
    };
    let refused = token(&engine, &config, &stranger).await;
    assert_eq!(
        refused.error.as_deref(),
        Some("Retrieval of OAuthToken failed due to: no user")
    );
    let nobody = token(&engine, &config, &Given::default()).await;
    assert!(nobody.error.unwrap().contains("a user token is needed"));
    assert_eq!(service.calls(), 1);
}
