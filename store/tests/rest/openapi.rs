//! The served description of the API, compared with what the paths can do.

use std::collections::BTreeSet;

use crate::support::Server;

const PATH: &str = "/landbridge/v1/openapi.json";

#[tokio::test]
async fn it_is_served_to_everybody() {
    let server = Server::start().await;
    let answer = server.call_with("GET", PATH, "", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

/// A path answers a method that it does not have with those it has.
#[tokio::test]
async fn every_method_is_described_and_every_described_method_exists() {
    let server = Server::start().await;
    let document = server.call_with("GET", PATH, "", &[]).await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        let item = match item["$ref"].as_str() {
            Some(reference) => document.pointer(&reference[1..]).unwrap(),
            None => item,
        };
        let mut described: BTreeSet<String> = item
            .as_object()
            .unwrap()
            .keys()
            .map(|method| method.to_uppercase())
            .filter(|method| !matches!(method.as_str(), "PARAMETERS" | "SUMMARY" | "DESCRIPTION"))
            .collect();
        // RFC 9110 section 9.3.2: whatever has GET has HEAD.
        if described.contains("GET") {
            described.insert("HEAD".into());
        }
        let answer = server
            .call_with(
                "PROPFIND",
                &path.replace("{name}", "some").replace("{subdomain}", "some"),
                "",
                &[],
            )
            .await;
        assert_eq!(answer.status, 405, "{path}");
        let allowed: BTreeSet<String> = answer
            .header("allow")
            .split(',')
            .map(|method| method.trim().to_owned())
            .collect();
        assert_eq!(described, allowed, "{path}");
    }
}
