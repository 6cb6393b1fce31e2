//! Tokens of subscribers (D7): asked for with the instance's credentials at the tenant's address.

use landbridge_store::Access;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::exchange::exchange;
use crate::oidc::Provider;
use crate::support::{Answer, DESTINATIONS, FIND, Server, admin, claims, key, post_form, token_of};

async fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let form = [
        ("client_id", server.binding.client_id.as_str()),
        ("client_secret", server.binding.client_secret.expose_secret()),
        ("grant_type", "client_credentials"),
    ];
    post_form(server, path, &form, headers).await
}

#[tokio::test]
async fn a_subscriber_is_named_by_id_host_or_path() {
    let server = Server::start().await;
    let admin = admin(&server).await;
    admin.create_subaccount(Some("sub-2"), "customer").await.unwrap();
    admin.create_subaccount(Some("sub-3"), "stranger").await.unwrap();
    admin.subscribe("sub-1", None, "customer").await.unwrap();
    let host = format!("customer.{}", server.address);
    let upper = format!("CUSTOMER.{}", server.address);
    let ways: [(&str, Vec<(&str, &str)>); 5] = [
        ("/oauth/token", vec![("x-zid", "sub-2")]),
        ("/oauth/token", vec![("host", &host)]),
        ("/oauth/token", vec![("host", &upper), ("x-zid", "sub-2")]),
        ("/tenants/customer/oauth/token", vec![]),
        ("/tenants/customer/oauth/token", vec![("x-zid", "sub-2")]),
    ];
    for (path, headers) in &ways {
        let answer = ask(&server, path, headers).await;
        assert_eq!(answer.status, 200, "{path} {headers:?}: {}", answer.text);
        let said = claims(answer.json()["access_token"].as_str().unwrap());
        assert_eq!(
            (&said["zid"], &said["ext_attr"]["zdn"]),
            (&json!("sub-2"), &json!("customer"))
        );
        assert_eq!(said["ext_attr"]["providersubaccountid"], "sub-1");
        assert_eq!(said["client_id"], server.binding.client_id);
    }
    for headers in [vec![("x-zid", "sub-1")], vec![]] {
        let answer = ask(&server, "/tenants/mytenant/oauth/token", &headers).await;
        let said = claims(answer.json()["access_token"].as_str().unwrap());
        assert_eq!(
            (&said["zid"], said["ext_attr"].get("providersubaccountid")),
            (&json!("sub-1"), None)
        );
    }
    // There but not subscribed, and not there at all, look the same.
    let mut refusals = Vec::new();
    for zid in ["sub-3", "nobody", "stranger", "customer", "mytenant", "a b"] {
        let answer = ask(&server, "/oauth/token", &[("x-zid", zid)]).await;
        refusals.push((answer.status, answer.text));
    }
    for path in [
        "/tenants/stranger/oauth/token",
        "/tenants/nobody/oauth/token",
        "/tenants/sub-2/oauth/token",
    ] {
        let answer = ask(&server, path, &[]).await;
        refusals.push((answer.status, answer.text));
    }
    let answer = ask(&server, "/tenants/customer/oauth/token", &[("x-zid", "sub-1")]).await;
    refusals.push((answer.status, answer.text));
    assert!(refusals.iter().all(|one| *one == refusals[0]), "{refusals:?}");
    assert_eq!(refusals[0].0, 400);
    assert!(refusals[0].1.contains("unauthorized_client"));
    // Nobody learns of tenants without credentials.
    let form = [
        ("client_id", "x"),
        ("client_secret", "y"),
        ("grant_type", "client_credentials"),
    ];
    let stranger = post_form(&server, "/tenants/customer/oauth/token", &form, &[]).await;
    assert_eq!(stranger.status, 401);

    admin.unsubscribe("sub-1", None, "customer").await.unwrap();
    assert_eq!(
        ask(&server, "/oauth/token", &[("x-zid", "sub-2")]).await.status,
        400
    );
    admin.close().await;
}

#[tokio::test]
async fn a_subscribers_token_sees_the_subscribers_destinations_d7() {
    let server = Server::start().await;
    let admin = admin(&server).await;
    admin
        .create_subaccount(Some("sub-2"), "tenant-sub-2")
        .await
        .unwrap();
    admin.subscribe("sub-1", None, "sub-2").await.unwrap();
    admin.close().await;
    let theirs = key(&server.folder, &server, "sub-2", "k", Access::Full).await;
    let bearer = |token: String| format!("Bearer {token}");
    let own = bearer(token_of(server.address, &theirs, "").await);
    let http = json!({ "Name": "crm", "Type": "HTTP", "URL": "https://crm.example.com",
        "ProxyType": "Internet", "Authentication": "NoAuthentication" })
    .to_string();
    let headers = [
        ("authorization", own.as_str()),
        ("content-type", "application/json"),
    ];
    assert_eq!(
        server
            .call_with("POST", DESTINATIONS, &http, &headers)
            .await
            .status,
        201
    );

    let answer = ask(&server, "/oauth/token", &[("x-zid", "sub-2")]).await.json();
    let subscriber = bearer(answer["access_token"].as_str().unwrap().to_owned());
    let find = format!("{FIND}/crm");
    let found = server
        .call_with("GET", &find, "", &[("authorization", &subscriber)])
        .await;
    assert_eq!(found.status, 200, "{}", found.text);
    assert_eq!(
        found.json()["destinationConfiguration"]["URL"],
        "https://crm.example.com"
    );
    let provider = bearer(server.token().await);
    let found = server
        .call_with("GET", &find, "", &[("authorization", &provider)])
        .await;
    assert_eq!(found.status, 404, "the provider does not");
}

#[tokio::test]
async fn users_of_subscribers_stay_in_their_tenant() {
    let (server, provider) = (Server::start().await, Provider::start().await);
    let admin = admin(&server).await;
    admin.create_subaccount(Some("sub-2"), "customer").await.unwrap();
    admin.subscribe("sub-1", None, "sub-2").await.unwrap();
    // Only the subscriber trusts the issuer.
    admin
        .trust_issuer("sub-2", provider.trusted("idp"))
        .await
        .unwrap();
    let token = provider.sign(&provider.jane());
    assert_eq!(exchange(&server, &token, &[]).await.status, 400);
    let zid = [("x-zid", "sub-2")];
    let answer = exchange(&server, &token, &zid).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(claims(&token)["zid"], "sub-2");
    assert_eq!(exchange(&server, &token, &zid).await.status, 200);
    let other = exchange(&server, &token, &[]).await;
    assert_eq!(other.status, 400);
    assert!(other.text.contains("another tenant"), "{}", other.text);
    admin.distrust_issuer("sub-2", "idp").await.unwrap();
    assert!(admin.trusted_issuers("sub-2").await.unwrap().is_empty());
    admin.close().await;
}
