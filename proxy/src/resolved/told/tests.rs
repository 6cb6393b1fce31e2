use landbridge_destination::find::FindResponse;
use landbridge_destination::gateway::ResolveAnswer;
use serde_json::{Value, json};

use super::*;
use crate::pool::Pool;

fn found(configuration: Value, tokens: Value) -> FindResponse {
    let answer = json!({"owner": {"SubaccountId": "t", "InstanceId": null},
        "destinationConfiguration": configuration, "authTokens": tokens});
    serde_json::from_value(answer).unwrap()
}

fn resolved(configuration: Value, tokens: Value, now: Instant) -> Resolved {
    let plan = Plan::new(&found(configuration, tokens), None, now).unwrap();
    let upstream = Pool::default().upstream(plan.key.clone(), None);
    plan.bind(upstream)
}

fn oauth() -> Value {
    json!({"Name": "erp", "Type": "HTTP", "URL": "https://erp.example:8443/base?x=1",
        "Authentication": "OAuth2ClientCredentials", "ProxyType": "Internet", "TrustAll": "false",
        "tokenServiceURL": "https://token.example", "clientId": "the-client", "clientSecret": "the-client-secret",
        "tokenServiceUser": "u", "tokenServicePassword": "the-token-password", "Password": "the-password",
        "URL.headers.X-Key": "k\u{e4}", "URL.queries.lang": "de&at", "note": "the-note"})
}

fn token(seconds: u64) -> Value {
    json!([{"type": "Bearer", "value": "the-token", "expires_in": seconds.to_string(), "refresh_token": "the-refresh-token",
        "http_header": {"key": "Authorization", "value": "Bearer the-token"}}])
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_what_the_gateway_would_use() {
    let now = Instant::now();
    let own = resolved(oauth(), token(630), now);
    let told = own.tell("", now + Duration::from_secs(100)).unwrap();
    let json = serde_json::to_string(&ResolveAnswer::Resolved(Box::new(told))).unwrap();
    // Nothing of the configuration but what a request carries.
    for secret in [
        "the-client",
        "the-client-secret",
        "the-token-password",
        "the-password",
        "the-note",
        "the-refresh-token",
        "token.example",
    ] {
        assert!(!json.contains(secret), "{secret} in {json}");
    }
    let ResolveAnswer::Resolved(told) = serde_json::from_str(&json).unwrap() else {
        panic!("{json}");
    };
    let asked = now + Duration::from_secs(1000);
    let plan = Plan::told(*told, asked).unwrap();
    assert_eq!(plan.key, own.upstream.key);
    assert_eq!((&plan.target, &plan.headers), (&own.target, &own.headers));
    assert_eq!(
        (plan.connect_timeout, plan.read_timeout),
        (own.connect_timeout, own.read_timeout)
    );
    let credential = plan.credential.unwrap();
    assert_eq!(credential.value, own.credential.unwrap().value);
    assert!(credential.value.is_sensitive() && credential.renewable);
    // 630 s, of which 30 s are kept in hand once, and 100 s were over.
    assert_eq!(credential.expires.unwrap() - asked, Duration::from_secs(500));
}

#[tokio::test]
async fn plain_destinations_and_own_roots() {
    let now = Instant::now();
    let tcp = json!({"Name": "db", "Type": "TCP", "Address": "db.example:5432", "ProxyType": "Internet",
        "Authentication": "NoAuthentication"});
    let own = resolved(tcp, json!(null), now);
    let plan = Plan::told(own.tell("ROOTS", now).unwrap(), now).unwrap();
    assert_eq!(
        plan.key, own.upstream.key,
        "where there is no TLS, roots do not matter"
    );
    assert!(plan.target.is_none() && plan.credential.is_none());

    let https = resolved(oauth(), token(600), now);
    let plan = Plan::told(https.tell("ROOTS", now).unwrap(), now).unwrap();
    assert_eq!(
        plan.key.trust,
        Trust::Custom("ROOTS".into()),
        "the sidecar trusts whom the gateway trusts"
    );
}

#[tokio::test]
async fn what_needs_a_tunnel_is_not_told() {
    let mut configuration = oauth();
    configuration["ProxyType"] = "OnPremise".into();
    configuration["URL"] = "http://erp:44300".into();
    let now = Instant::now();
    assert!(resolved(configuration, token(600), now).tell("", now).is_none());
}

#[tokio::test]
async fn what_cannot_be_used_is_refused() {
    let now = Instant::now();
    let good = || resolved(oauth(), token(600), now).tell("", now).unwrap();
    type Change = fn(&mut ResolvedDestination);
    let changes: [(Change, &str); 4] = [
        (|told| told.trust = ResolvedTrust::Plain, "trust"),
        (|told| told.headers.push(("a b".into(), String::new())), "'a b'"),
        (
            |told| {
                told.target = ResolvedTarget::Http {
                    url: "ftp://h".into(),
                    queries: Vec::new(),
                }
            },
            "neither http",
        ),
        (
            |told| told.credential.as_mut().unwrap().name = "a b".into(),
            "credential",
        ),
    ];
    for (change, said) in changes {
        let mut told = good();
        change(&mut told);
        let failure = Plan::told(told, now).unwrap_err();
        assert_eq!(failure.kind, Kind::DestinationUnusable);
        assert!(failure.message.contains(said), "{failure}");
        assert!(!failure.message.contains("the-token"), "{failure}");
    }
}
