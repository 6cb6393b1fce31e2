use serde_json::{Value, json};

use super::*;

fn found(value: Value) -> FindResponse {
    serde_json::from_value(value).unwrap()
}

fn http(extra: Value, tokens: Value) -> FindResponse {
    let mut configuration = json!({"Name": "d", "Type": "HTTP", "URL": "https://h/base", "ProxyType": "Internet",
        "Authentication": "NoAuthentication"});
    for (key, value) in extra.as_object().unwrap() {
        configuration[key] = value.clone();
    }
    let mut answer = json!({"owner": {"SubaccountId": "sub", "InstanceId": null}, "destinationConfiguration": configuration});
    if !tokens.is_null() {
        answer["authTokens"] = tokens;
    }
    found(answer)
}

fn plan(found: &FindResponse) -> Result<Plan, Failure> {
    Plan::new(found, None, Instant::now())
}

#[test]
fn internet_without_authentication() {
    let plan = plan(&http(
        json!({"URL.headers.apikey": "k", "URL.socketReadTimeoutInSeconds": "60"}),
        Value::Null,
    ))
    .unwrap();
    assert_eq!(
        plan.key,
        UpstreamKey {
            way: Way::Internet,
            trust: Trust::Roots,
            host: "h".into(),
            port: 443
        }
    );
    assert!(plan.credential.is_none());
    assert_eq!(
        plan.headers,
        [(HeaderName::from_static("apikey"), HeaderValue::from_static("k"))]
    );
    assert_eq!(
        (plan.connect_timeout.as_secs(), plan.read_timeout.as_secs()),
        (5, 60)
    );
}

#[test]
fn basic_credentials_do_not_expire_and_are_hidden() {
    // D2: test / pass12345 (seed L13478).
    let token = json!([{"type": "Basic", "value": "dGVzdDpwYXNzMTIzNDU=",
        "http_header": {"key": "Authorization", "value": "Basic dGVzdDpwYXNzMTIzNDU="}}]);
    let plan = plan(&http(json!({"Authentication": "BasicAuthentication"}), token)).unwrap();
    let credential = plan.credential.unwrap();
    assert_eq!(
        (credential.name.as_str(), credential.value.as_bytes()),
        ("authorization", &b"Basic dGVzdDpwYXNzMTIzNDU="[..])
    );
    assert!(credential.expires.is_none() && !credential.renewable);
    assert!(!format!("{credential:?}").contains("dGVz"));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_given_up_before_they_expire() {
    let token = json!([{"type": "Bearer", "value": "t", "expires_in": "100",
        "http_header": {"key": "Authorization", "value": "Bearer t"}}]);
    let plan = plan(&http(json!({"Authentication": "OAuth2ClientCredentials"}), token)).unwrap();
    let credential = plan.credential.unwrap();
    let now = Instant::now();
    assert!(credential.renewable);
    assert!(credential.expires > Some(now + Duration::from_secs(69)));
    assert!(credential.expires < Some(now + Duration::from_secs(71)));
}

#[test]
fn on_premise_goes_to_the_owners_connector() {
    let answer = http(
        json!({"ProxyType": "OnPremise", "URL": "http://virtualhost:1234", "CloudConnectorLocationId": "orlando"}),
        Value::Null,
    );
    let on_premise = |location: &str| Way::OnPremise {
        tenant: "sub".into(),
        location: location.into(),
    };
    assert_eq!(plan(&answer).unwrap().key.way, on_premise("orlando"));
    let other = Plan::new(&answer, Some("paris"), Instant::now()).unwrap();
    assert_eq!(
        other.key.way,
        on_premise("paris"),
        "the request's location id wins"
    );
    let https = http(
        json!({"ProxyType": "OnPremise", "URL": "https://virtualhost"}),
        Value::Null,
    );
    let key = plan(&https).unwrap().key;
    assert_eq!(
        (key.port, key.trust),
        (443, Trust::Plain),
        "the connector speaks TLS, not we"
    );
}

#[test]
fn trust_stores() {
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let with = |content: &str| {
        use base64::Engine as _;
        let mut answer = http(json!({"TrustStoreLocation": "ca.pem"}), Value::Null);
        let content = base64::engine::general_purpose::STANDARD.encode(content);
        answer.certificates = Some(
            serde_json::from_value(json!([{"Name": "ca.pem", "Content": content, "Type": "CERTIFICATE"}]))
                .unwrap(),
        );
        answer
    };
    assert_eq!(plan(&with(pem)).unwrap().key.trust, Trust::Custom(pem.into()));
    assert!(plan(&with("not pem")).unwrap_err().message.contains("not PEM"));
    let missing = http(json!({"TrustStoreLocation": "ca.pem"}), Value::Null);
    assert!(plan(&missing).unwrap_err().message.contains("'ca.pem'"));
    let all = http(
        json!({"TrustAll": "TRUE", "TrustStoreLocation": "ca.pem"}),
        Value::Null,
    );
    assert_eq!(
        plan(&all).unwrap().key.trust,
        Trust::All,
        "seed L6725: the trust store is ignored then"
    );
}

#[test]
fn what_cannot_be_used_says_why() {
    for (extra, tokens, kind, part) in [
        (
            json!({"Type": "RFC"}),
            Value::Null,
            Kind::DestinationUnusable,
            "Type is RFC",
        ),
        (
            json!({"ProxyType": "Moon"}),
            Value::Null,
            Kind::DestinationUnusable,
            "'Moon'",
        ),
        (
            json!({"URL": "ftp://h"}),
            Value::Null,
            Kind::DestinationUnusable,
            "neither http",
        ),
        (
            json!({"URL.headers.bad name": "x"}),
            Value::Null,
            Kind::DestinationUnusable,
            "bad name",
        ),
        (
            json!({"Authentication": "PrincipalPropagation"}),
            Value::Null,
            Kind::DestinationUnusable,
            "PrincipalPropagation",
        ),
        (
            json!({"Authentication": "BasicAuthentication"}),
            Value::Null,
            Kind::TokenUnavailable,
            "has none",
        ),
        (
            json!({"Authentication": "OAuth2ClientCredentials"}),
            json!([{"type": "", "value": "", "error": "Retrieval of OAuthToken failed due to: 401"}]),
            Kind::TokenUnavailable,
            "Retrieval of OAuthToken failed due to: 401",
        ),
    ] {
        let failure = plan(&http(extra.clone(), tokens)).unwrap_err();
        assert_eq!(failure.kind, kind, "{extra}");
        assert!(failure.message.contains(part), "{extra}: {}", failure.message);
    }
}

#[test]
fn tcp_destinations_have_an_address() {
    let answer = found(
        json!({"owner": {"SubaccountId": "sub"}, "destinationConfiguration":
        {"Name": "db", "Type": "TCP", "Address": "virtualdb:5432", "ProxyType": "OnPremise", "Authentication": "NoAuthentication"}}),
    );
    let plan = plan(&answer).unwrap();
    assert!(plan.target.is_none());
    assert_eq!((plan.key.host.as_str(), plan.key.port), ("virtualdb", 5432));
}
