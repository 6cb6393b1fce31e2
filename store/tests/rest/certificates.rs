//! Key and trust stores: kept, given to clients, and used for tokens.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{FIND, Server};
use crate::tokens::{assert_error, destination, put};

const SUBACCOUNT: &str = "/destination-configuration/v1/subaccountCertificates";
const INSTANCE: &str = "/destination-configuration/v1/instanceCertificates";

/// A PKCS#12 by openssl, with the password `secret`.
fn pkcs12() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out own.pem -subj /CN=signer -days 2",
        "pkcs12 -export -out own.p12 -inkey key.pem -in own.pem -passout pass:secret",
    ] {
        let done = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder.path())
            .output()
            .expect("openssl is installed");
        assert!(done.status.success(), "{done:?}");
    }
    std::fs::read(folder.path().join("own.p12")).unwrap()
}

fn entry(name: &str, content: &[u8]) -> Value {
    json!({"Name": name, "Type": "CERTIFICATE", "Content": STANDARD.encode(content)})
}

async fn found(server: &Server, query: &str) -> Value {
    let found = server.call("GET", &format!("{FIND}/api{query}"), "").await;
    assert_eq!(found.status, 200, "{}", found.text);
    found.json()
}

#[tokio::test]
async fn uploaded_read_and_deleted_on_both_levels() {
    let server = Server::start().await;
    for (path, other) in [(SUBACCOUNT, INSTANCE), (INSTANCE, SUBACCOUNT)] {
        let one = entry("trust.pem", b"one");
        let created = server.call("POST", path, &one.to_string()).await;
        assert_eq!((created.status.as_u16(), created.text.as_str()), (201, ""));
        assert_eq!(
            server.call("GET", &format!("{path}/trust.pem"), "").await.json(),
            one
        );
        assert_eq!(
            server.call("GET", &format!("{other}/trust.pem"), "").await.status,
            404
        );
        let again = server.call("POST", path, &one.to_string()).await;
        assert_eq!(
            (again.status.as_u16(), again.message().as_str()),
            (409, "Duplicate key")
        );
        let several = json!([entry("a.jks", b"a"), entry("trust.pem", b"b"), entry("bad", b"c")]);
        let mixed = server.call("POST", path, &several.to_string()).await;
        assert_eq!(mixed.status, 207);
        let states: Vec<_> = mixed
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["status"].clone())
            .collect();
        assert_eq!(states, [201, 409, 400]);
        let all = server.call("GET", path, "").await.json();
        assert_eq!(all, json!([entry("a.jks", b"a"), one]));
        let deleted = server.call("DELETE", &format!("{path}/trust.pem"), "").await;
        assert_eq!(deleted.text, r#"{"Count":1}"#);
        assert_eq!(
            server
                .call("DELETE", &format!("{path}/trust.pem"), "")
                .await
                .status,
            404
        );
        assert_eq!(
            server.call("DELETE", &format!("{path}/a.jks"), "").await.status,
            200
        );
    }
    for (body, told) in [
        ("{}", "no certificate"),
        (r#"{"Name":"a.pem","Content":"AAAA","x":1}"#, "no certificate"),
        (r#"{"Name":"a.pem","Content":"!"}"#, "no base64"),
        (r#"{"Name":"a.exe","Content":"AAAA"}"#, "the name"),
        (r#"{"Name":"a.pem","Type":"KEY","Content":"AAAA"}"#, "Type"),
        ("[]", "1 to 100"),
    ] {
        let refused = server.call("POST", SUBACCOUNT, body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.message().contains(told), "{}", refused.message());
    }
}

/// D11, T09 (seed L13441-L13467): what a destination names goes with it, unless credentials are left out.
#[tokio::test]
async fn answers_have_the_stores_a_destination_names_d11_t09() {
    let server = Server::start().await;
    let (key, trust) = (entry("keystore.jks", b"key"), entry("truststore.jks", b"trust"));
    for one in [&key, &trust] {
        assert_eq!(
            server.call("POST", SUBACCOUNT, &one.to_string()).await.status,
            201
        );
    }
    let mut client = destination(
        "https://unused.example.com",
        json!({
        "Authentication": "ClientCertificateAuthentication", "KeyStoreLocation": "keystore.jks",
        "KeyStorePassword": "p", "TrustStoreLocation": "truststore.jks", "TrustStorePassword": "p"}),
    );
    put(&server, &client).await;
    let answer = found(&server, "").await;
    assert_eq!(answer["certificates"], json!([key, trust]));
    assert!(answer.get("authTokens").is_none());
    assert!(
        found(&server, "?$skipCredentials=true")
            .await
            .get("certificates")
            .is_none()
    );
    client["KeyStore.Source"] = "ClientProvided".into();
    put(&server, &client).await;
    assert_eq!(found(&server, "").await["certificates"], json!([trust]));
    // What a token would be fetched with, when the client fetches it itself.
    let token =
        json!({"tokenService.KeyStoreLocation": "keystore.jks", "tokenService.KeyStorePassword": "p"});
    put(&server, &destination("https://unused.example.com", token)).await;
    assert_eq!(
        found(&server, "?$skipTokenRetrieval=true").await["certificates"],
        json!([key])
    );
}

/// An assertion is signed with the destination's own key (seed L6928), opened with its password only.
#[tokio::test]
async fn assertions_are_signed_with_a_key_store() {
    let server = Server::start().await;
    let stored = server
        .call("POST", SUBACCOUNT, &entry("own.p12", &pkcs12()).to_string())
        .await;
    assert_eq!(stored.status, 201);
    let with = |name: &str, password: &str| {
        destination(
            "https://unused.example.com",
            json!({"Authentication": "SAMLAssertion", "audience": "a",
            "authnContextClassRef": "c", "SystemUser": "jane", "KeyStoreLocation": name, "KeyStorePassword": password}),
        )
    };
    for (name, password, told) in [
        ("own.p12", "hunter2", "does not open"),
        ("none.p12", "secret", "no certificate named"),
    ] {
        put(&server, &with(name, password)).await;
        assert_error(&found(&server, "").await["authTokens"][0], told);
    }
    put(&server, &with("own.p12", "secret")).await;
    let token = &found(&server, "").await["authTokens"][0];
    assert_eq!(token["type"], "SAML2.0", "{token}");
    let xml = String::from_utf8(STANDARD.decode(token["value"].as_str().unwrap()).unwrap()).unwrap();
    assert!(
        xml.contains("<ds:SignatureValue>") || xml.contains("SignatureValue"),
        "{xml}"
    );
}
