//! The samples of the handbook with a client that shares nothing with this project: curl.

use std::process::Stdio;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{DESTINATIONS, FIND, Server};

/// Status and body of what curl got.
async fn curl(arguments: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "120"])
        .args(["--write-out", "\n%{http_code}"])
        .args(arguments)
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("curl is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (status.parse().unwrap(), body.to_owned())
}

async fn get(server: &Server, path: &str, token: &str) -> (u16, Value) {
    let authorization = format!("Authorization: Bearer {token}");
    let (status, body) = curl(&["--header", &authorization, &server.url(path)]).await;
    (
        status,
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")),
    )
}

/// The two destinations of the samples (seed L13246, L13281).
fn on_premise() -> Value {
    json!({"Name": "SomeOnPremise", "Type": "HTTP", "URL": "http://virtual:1234", "ProxyType": "OnPremise", "Authentication": "NoAuthentication"})
}

fn basic() -> Value {
    json!({"Name": "SomeBasic", "Type": "HTTP", "URL": "http://virtual:1234", "ProxyType": "OnPremise", "Authentication": "BasicAuthentication", "User": "test", "Password": "pass12345"})
}

async fn with_samples() -> (Server, String) {
    let server = Server::start().await;
    let both = json!([on_premise(), basic()]);
    let created = server.call("POST", DESTINATIONS, &both.to_string()).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let token = server.token().await;
    (server, token)
}

/// Seed L13186: the form, and the client by Basic or in the form.
#[tokio::test]
async fn a_token_by_curl_c15() {
    let server = Server::start().await;
    let (id, secret) = (
        &server.binding.client_id,
        server.binding.client_secret.expose_secret(),
    );
    let (basic, url) = (format!("{id}:{secret}"), server.url("/oauth/token"));
    let (client_id, client_secret) = (format!("client_id={id}"), format!("client_secret={secret}"));
    let grant = "grant_type=client_credentials";
    let by_basic = [
        "--user",
        &basic,
        "--data",
        grant,
        "--data-urlencode",
        &client_id,
        &url,
    ];
    let in_form = [
        "--data",
        grant,
        "--data-urlencode",
        &client_id,
        "--data-urlencode",
        &client_secret,
        &url,
    ];
    for arguments in [&by_basic, &in_form] {
        let (status, body) = curl(arguments).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &answer["token_type"]), (200, &json!("bearer")), "{body}");
        assert!(answer["expires_in"].is_u64(), "{body}");
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!(get(&server, DESTINATIONS, token).await, (200, json!([])));
    }
}

#[tokio::test]
async fn finding_by_curl_d1_d2() {
    let (server, token) = with_samples().await;
    let owner = json!({"SubaccountId": "sub-1", "InstanceId": null});
    let (status, found) = get(&server, &format!("{FIND}/SomeOnPremise"), &token).await;
    let expected = json!({"owner": owner, "destinationConfiguration": on_premise()});
    assert_eq!((status, found), (200, expected));

    let (status, found) = get(&server, &format!("{FIND}/SomeBasic"), &token).await;
    // `test:pass12345`, as the sample has it (seed L13490).
    let value = "dGVzdDpwYXNzMTIzNDU=";
    let header = json!({"key": "Authorization", "value": format!("Basic {value}")});
    let tokens = json!([{"type": "Basic", "value": value, "http_header": header}]);
    let expected = json!({"owner": owner, "destinationConfiguration": basic(), "authTokens": tokens});
    assert_eq!((status, found), (200, expected));
}

#[tokio::test]
async fn reading_and_listing_by_curl_d3_d4() {
    let (server, token) = with_samples().await;
    let one = get(&server, &format!("{DESTINATIONS}/SomeBasic"), &token).await;
    assert_eq!(one, (200, basic()));
    let (status, list) = get(&server, DESTINATIONS, &token).await;
    assert_eq!(status, 200);
    let mut list = list.as_array().unwrap().clone();
    list.sort_by_key(|one| one["Name"].to_string());
    assert_eq!(list, [basic(), on_premise()]);
}

#[tokio::test]
async fn refusals_by_curl_d5() {
    let (server, token) = with_samples().await;
    let (status, _) = curl(&[&server.url(DESTINATIONS)]).await;
    assert_eq!(status, 401);
    assert_eq!(get(&server, DESTINATIONS, "no.such.token").await.0, 401);
    let (status, answer) = get(&server, &format!("{FIND}/nothing"), &token).await;
    let text = json!({"ErrorMessage": "Configuration with the specified name was not found"});
    assert_eq!((status, answer), (404, text));
}
