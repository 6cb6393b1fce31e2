//! Certificates for callers.

use landbridge_destination::identity::{CERTIFICATE_PATH, MAX_CERTIFICATE_REQUEST, WorkloadIdentity};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::GeneralName;

use super::*;

fn request() -> Body {
    let params = CertificateParams::new(vec!["landbridge-gateway".to_owned()]).unwrap();
    let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    serde_json::json!({ "csr": csr.pem().unwrap() })
        .to_string()
        .into()
}

/// Whom a certificate names, and whether it is for a gateway.
fn named(answer: &serde_json::Value) -> (String, bool) {
    let pem = answer["certificate"].as_str().unwrap();
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let names = &names.value.general_names;
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let account = WorkloadIdentity::from_uris(uris).unwrap().to_string();
    (
        account,
        names.contains(&GeneralName::DNSName("landbridge-gateway")),
    )
}

#[tokio::test]
async fn each_caller_gets_its_own() {
    let server = Server::with_routes().await;
    for (token, expected) in [
        ("shop/cart/p1", ("shop/cart", false)),
        (PROXY, ("landbridge/proxy", true)),
        ("other/proxy/p1", ("other/proxy", false)),
    ] {
        let (status, answer) = server.post_to(CERTIFICATE_PATH, token, request()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(named(&answer), (expected.0.to_owned(), expected.1));
        assert_eq!(answer["validSeconds"], 86_400);
        assert!(
            answer["authority"]
                .as_str()
                .unwrap()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
    }
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let server = Server::with_routes().await;
    let long = serde_json::json!({ "csr": "x".repeat(MAX_CERTIFICATE_REQUEST) }).to_string();
    for (token, body, expected, said) in [
        ("nobody", request(), StatusCode::UNAUTHORIZED, "token is refused"),
        ("shop/cart/p1", Body::from("{}"), StatusCode::BAD_REQUEST, "csr"),
        (
            "shop/cart/p1",
            Body::from(r#"{"csr":"mine"}"#),
            StatusCode::BAD_REQUEST,
            "PKCS#10",
        ),
        (
            "shop/cart/p1",
            Body::from(long),
            StatusCode::PAYLOAD_TOO_LARGE,
            "8192 bytes",
        ),
    ] {
        let (status, answer) = server.post_to(CERTIFICATE_PATH, token, body).await;
        assert_eq!(status, expected, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{answer}");
    }
}

#[tokio::test]
async fn nobody_gets_as_many_as_they_like() {
    let server = Server::with_routes().await;
    let mut last = StatusCode::OK;
    for _ in 0..30 {
        last = server
            .post_to(CERTIFICATE_PATH, "shop/cart/p1", request())
            .await
            .0;
        if last != StatusCode::OK {
            break;
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    let other = server
        .post_to(CERTIFICATE_PATH, "shop/cart/p2", request())
        .await
        .0;
    assert_eq!(other, StatusCode::OK, "another pod has a count of its own");
}

#[tokio::test]
async fn without_an_authority_it_says_what_needs_one() {
    let foreign = Server::signing(Limits::default(), None).await;
    let (status, answer) = foreign.post_to(CERTIFICATE_PATH, "shop/cart/p1", request()).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    let said = answer["error"].as_str().unwrap();
    for part in [
        "--serve-certificate-dir",
        "sidecars need",
        "Gateways and proxies on nodes work",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let early = Server::signing(Limits::default(), Some(Arc::default())).await;
    let (status, _) = early.post_to(CERTIFICATE_PATH, "shop/cart/p1", request()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}
