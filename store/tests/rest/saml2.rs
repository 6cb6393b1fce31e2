//! The key pairs of subaccounts: D17, D18, T48.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::pem::parse_x509_pem;

use crate::support::Server;

const METADATA: &str = "/destination-configuration/v1/saml2Metadata";

/// The public key, the common name and the days of validity of a certificate.
fn facts(pem: &str) -> (Vec<u8>, String, i64) {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let name = certificate.subject().iter_common_name().next().unwrap();
    let validity = certificate.validity();
    let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
    certificate.verify_signature(None).unwrap();
    (
        certificate.public_key().raw.to_vec(),
        name.as_str().unwrap().to_owned(),
        seconds / 86_400,
    )
}

async fn certificate(server: &Server, method: &str, path: &str) -> String {
    let answer = server.call(method, &format!("{METADATA}{path}"), "").await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
    answer.json()["certificate"].as_str().unwrap().to_owned()
}

async fn refused(server: &Server, method: &str, path: &str) -> (u16, String) {
    let answer = server.call(method, &format!("{METADATA}{path}"), "").await;
    (answer.status.as_u16(), answer.message())
}

#[tokio::test]
async fn keys_are_made_exchanged_and_deleted_d17_t48() {
    let server = Server::start().await;
    const ACTIVE: &str = "/certificate";
    const PASSIVE: &str = "/certificate/passive";
    let none = (404, "Keypair for subaccount - sub-1 does not exist".to_owned());
    let none_passive = (
        404,
        "Passive Keypair for subaccount - sub-1 does not exist".to_owned(),
    );
    for path in ["", ACTIVE] {
        assert_eq!(refused(&server, "GET", path).await, none);
    }
    assert_eq!(refused(&server, "GET", PASSIVE).await, none_passive);
    assert_eq!(refused(&server, "DELETE", PASSIVE).await, none_passive);

    let active = certificate(&server, "POST", ACTIVE).await;
    let (key, name, days) = facts(&active);
    assert!(name.ends_with("/sub-1") && !name.contains("://"), "{name}");
    assert_eq!(days, 730, "two years");
    assert_eq!(certificate(&server, "GET", ACTIVE).await, active);
    // A second time: another two years for the same key.
    let renewed = certificate(&server, "POST", ACTIVE).await;
    assert_ne!(renewed, active);
    assert_eq!(facts(&renewed).0, key);

    assert_eq!(refused(&server, "POST", "/rotateCertificate").await, none_passive);
    let passive = certificate(&server, "POST", PASSIVE).await;
    assert_ne!(facts(&passive).0, key);
    for _ in 0..2 {
        let before = [
            certificate(&server, "GET", ACTIVE).await,
            certificate(&server, "GET", PASSIVE).await,
        ];
        let path = format!("{METADATA}/rotateCertificate");
        let rotated = server.call("POST", &path, "").await.json();
        assert_eq!(rotated["activeCertificate"], before[1].as_str());
        assert_eq!(rotated["passiveCertificate"], before[0].as_str());
        assert_eq!(certificate(&server, "GET", ACTIVE).await, before[1]);
    }
    let deleted = server.call("DELETE", &format!("{METADATA}{PASSIVE}"), "").await;
    assert_eq!(deleted.text, r#"{"Count":1}"#);
    assert_eq!(refused(&server, "GET", PASSIVE).await, none_passive);
    assert_eq!(certificate(&server, "GET", ACTIVE).await, renewed);
    for path in [ACTIVE, PASSIVE, "/rotateCertificate"] {
        let answer = server.call("POST", &format!("{METADATA}{path}"), "{}").await;
        assert_eq!(
            (answer.status.as_u16(), answer.message().as_str()),
            (400, "Request body should be empty!")
        );
    }
}

#[tokio::test]
async fn metadata_has_the_active_certificate_d18() {
    let server = Server::start().await;
    let pem = certificate(&server, "POST", "/certificate").await;
    let answer = server.call("GET", METADATA, "").await.json();
    let xml = STANDARD.decode(answer["idpMetadata"].as_str().unwrap()).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(
        xml.matches(&format!("<X509Certificate>{body}<")).count(),
        2,
        "{xml}"
    );
    let name = facts(&pem).1;
    assert!(xml.contains(&format!("entityID=\"{name}\"")), "{xml}");
}
