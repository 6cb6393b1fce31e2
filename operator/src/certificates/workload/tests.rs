use std::collections::BTreeSet;

use rcgen::{DnType, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{GeneralName, ParsedExtension, X509Certificate};

use super::super::material::Material;
use super::super::renewal::{CA_LIFE, DAY};
use super::*;

const NOW: i64 = 1_800_000_000;

fn cart() -> WorkloadIdentity {
    WorkloadIdentity::new("shop", "cart").unwrap()
}

/// What a certificate says: names, uses, public key, life.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    names: BTreeSet<String>,
    client: bool,
    server: bool,
    is_ca: bool,
    key: Vec<u8>,
    until: i64,
}

fn said(pem: &str) -> Said {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate): (_, X509Certificate<'_>) = x509_parser::parse_x509_certificate(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let names = names.value.general_names.iter().map(|name| match name {
        GeneralName::URI(uri) => format!("uri {uri}"),
        GeneralName::DNSName(dns) => format!("dns {dns}"),
        other => format!("{other:?}"),
    });
    let uses = certificate.extended_key_usage().unwrap().unwrap().value;
    let is_ca = certificate.extensions().iter().any(
        |extension| matches!(extension.parsed_extension(), ParsedExtension::BasicConstraints(basic) if basic.ca),
    );
    Said {
        names: names.collect(),
        client: uses.client_auth,
        server: uses.server_auth || uses.any,
        is_ca,
        key: certificate.public_key().raw.to_vec(),
        until: certificate.validity().not_after.timestamp(),
    }
}

fn request(params: CertificateParams) -> (String, Vec<u8>) {
    use rcgen::PublicKeyData as _;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    (csr, key.subject_public_key_info())
}

fn signer() -> Signer {
    Material::afresh(vec!["a".into()], NOW).unwrap().signer().unwrap()
}

#[test]
fn only_the_key_of_a_request_counts() {
    let mut greedy =
        CertificateParams::new(vec![GATEWAY_NAME.to_owned(), "landbridge-operator".to_owned()]).unwrap();
    let other = "spiffe://landbridge/ns/bank/sa/vault";
    greedy
        .subject_alt_names
        .push(SanType::URI(other.try_into().unwrap()));
    greedy
        .distinguished_name
        .push(DnType::CommonName, "landbridge-gateway");
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let (csr, key) = request(greedy);
    let answer = signer().sign(&csr, &cart(), false, NOW).unwrap();
    let expected = Said {
        names: BTreeSet::from(["uri spiffe://landbridge/ns/shop/sa/cart".to_owned()]),
        client: true,
        server: false,
        is_ca: false,
        key,
        until: NOW + DAY,
    };
    assert_eq!(said(&answer.certificate), expected);
    assert_eq!(answer.valid_seconds, 86_400);
}

#[test]
fn a_gateway_is_a_server_too() {
    let (csr, _) = request(CertificateParams::default());
    let gateway = WorkloadIdentity::new("landbridge", "proxy").unwrap();
    let said = said(&signer().sign(&csr, &gateway, true, NOW).unwrap().certificate);
    assert!(said.client && said.server, "{said:?}");
    let names = [
        "dns landbridge-gateway",
        "uri spiffe://landbridge/ns/landbridge/sa/proxy",
    ];
    assert_eq!(said.names, names.map(str::to_owned).into());
}

#[test]
fn never_longer_than_the_authority() {
    let (csr, _) = request(CertificateParams::default());
    let signer = signer();
    let late = NOW + CA_LIFE - 60;
    let answer = signer.sign(&csr, &cart(), false, late).unwrap();
    assert_eq!(
        (answer.valid_seconds, said(&answer.certificate).until),
        (60, NOW + CA_LIFE)
    );
    assert!(matches!(
        signer.sign(&csr, &cart(), false, NOW + CA_LIFE),
        Err(SignError::Ended)
    ));
}

#[test]
fn a_request_for_the_key_of_another_is_refused() {
    let (csr, _) = request(CertificateParams::default());
    // A bit of the signature, which is the last thing in it.
    let begin = csr.find('\n').unwrap() + 1;
    let end = csr.find("\n-----END").unwrap();
    let mut bytes: Vec<u8> = csr.bytes().collect();
    let at = (begin..end)
        .rev()
        .filter(|at| bytes[*at].is_ascii_alphanumeric())
        .nth(12)
        .unwrap();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    let broken = String::from_utf8(bytes).unwrap();
    for csr in ["", "hello", &broken] {
        let error = signer().sign(csr, &cart(), false, NOW).unwrap_err();
        assert!(matches!(error, SignError::Request(_)), "{error}");
    }
}

#[test]
fn after_a_rotation_both_authorities_are_told() {
    let mut material = Material::afresh(vec!["a".into()], NOW).unwrap();
    let old = material.bundle();
    // Two thirds of the year are over: a next authority, which signs an hour after it was published.
    let later = NOW + CA_LIFE * 3 / 4;
    material.renew(later).unwrap();
    material.published(later);
    let (csr, _) = request(CertificateParams::default());
    let before = material
        .signer()
        .unwrap()
        .sign(&csr, &cart(), false, later)
        .unwrap();
    assert!(before.authority.starts_with(&old) && before.authority.len() > old.len());
    let promoted = later + 3600;
    material.renew(promoted).unwrap();
    let after = material
        .signer()
        .unwrap()
        .sign(&csr, &cart(), false, promoted)
        .unwrap();
    assert!(!after.authority.starts_with(&old) && after.authority.contains(&old));
    assert!(said(&after.certificate).until > promoted);
}
