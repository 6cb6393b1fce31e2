//! SAML assertions, checked by another implementation of XML signatures: T40-T47.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bergshamra::keys::loader::load_x509_cert_der;
use bergshamra::{DsigContext, KeysManager, VerifyResult};
use serde_json::json;

use super::service::Service;
use super::*;

const ISSUER: &str = "cfapps.example.com/sub-1";

/// Path of the token service, properties, what the assertion has.
type Reference<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

fn user() -> Value {
    json!({
        "user_name": "P123", "email": "jane@example.com", "user_attributes": {"my_param": "a<b&\"c\"\t\u{e4}"},
        "xs.system.attributes": {"xs.saml.groups": ["admin", "dev"]},
    })
}

fn around(pair: &Pair) -> Around {
    Around {
        claims: user(),
        signing: Some(pair.signing(ISSUER)),
        ..Around::default()
    }
}

/// Checks the signature with the certificate alone, not with what the document says of its key.
fn is_signed(document: &str, certificate: &CertificateDer<'_>) -> bool {
    let mut keys = KeysManager::new();
    keys.add_key(load_x509_cert_der(certificate).unwrap());
    let result = bergshamra::verify(&DsigContext::new(keys), document);
    matches!(result, Ok(VerifyResult::Valid { .. }))
}

/// The document in a text of base64, after its signature was checked; a change of one letter makes it wrong.
fn checked(encoded: &[u8], certificate: &CertificateDer<'_>, other: &CertificateDer<'_>) -> String {
    let document = String::from_utf8(encoded.to_vec()).unwrap();
    assert!(is_signed(&document, certificate), "{document}");
    assert!(!is_signed(&document, other), "another key");
    for (from, to) in [
        ("P123", "P124"),
        ("jane@", "john@"),
        ("Groups", "groups"),
        ("Audience>a", "Audience>b"),
    ] {
        let forged = document.replacen(from, to, 1);
        assert!(forged == document || !is_signed(&forged, certificate), "{from}");
    }
    document
}

/// T45 (seed L8924-L8943), T42, T43: base64 of a document with its declaration, kept.
#[tokio::test]
async fn saml_assertion_t45() {
    let (pair, other) = (Pair::rsa("x"), Pair::rsa("y"));
    let engine = engine(around(&pair));
    let config = config(&[
        ("Name", "destinationSamlAssertion"),
        ("Authentication", "SAMLAssertion"),
        ("audience", "a.example.com"),
        (
            "authnContextClassRef",
            "urn:oasis:names:tc:SAML:2.0:ac:classes:X509",
        ),
    ]);
    let token = good(&engine, &config, &by_user()).await;
    let value = token.value.expose_secret();
    assert!(value.starts_with("PD94bWwgdmVyc2lvbj0iMS4wIiBlbmNvZ"), "{value}");
    assert_eq!(token.token_type, "SAML2.0");
    let header = token.http_header.as_ref().unwrap();
    assert_eq!(header.key, "Authorization");
    assert_eq!(header.value.expose_secret(), format!("SAML2.0 {value}"));
    assert_eq!(token.expires_in, None, "OAuth only, seed L13412");
    let document = checked(
        &STANDARD.decode(value).unwrap(),
        &pair.certificate,
        &other.certificate,
    );
    for part in [
        "<saml2:Issuer>cfapps.example.com/sub-1</saml2:Issuer>",
        ">P123</saml2:NameID>",
        "<saml2:Audience>a.example.com</saml2:Audience>",
        "ac:classes:X509</saml2:AuthnContextClassRef>",
        "<saml2:Attribute Name=\"user_attributes.my_param\"><saml2:AttributeValue>a&lt;b&amp;\"c\"\t\u{e4}<",
        "<saml2:Attribute Name=\"Groups\"><saml2:AttributeValue>admin</saml2:AttributeValue>",
    ] {
        assert!(document.contains(part), "{part}: {document}");
    }
    assert!(!document.contains("Recipient"));
    let again = good(&engine, &config, &by_user()).await;
    assert_eq!(again.value.expose_secret(), value, "kept, seed L8770");
    let certificate = STANDARD.encode(&pair.certificate);
    assert!(document.contains(&certificate));
    let mut without = config.clone();
    without.set("includeSigningCertificateInSAMLAssertion", "false");
    without.set("samlAssertionEncoding", "base64url");
    let token = good(&engine, &without, &by_user()).await;
    let document = URL_SAFE_NO_PAD.decode(token.value.expose_secret()).unwrap();
    let document = checked(&document, &pair.certificate, &other.certificate);
    assert!(!document.contains("KeyInfo"));
}

/// T44, T47: the reference destinations of Jam (seed L7216), S/4HANA (L10795), SuccessFactors (L10966) and a neighbour
/// (L11190).
#[tokio::test]
async fn saml_bearer_t44_t47() {
    let (pair, other) = (Pair::rsa("x"), Pair::rsa("y"));
    let engine = engine(around(&pair));
    let service = Service::start().await;
    let session = "urn:oasis:names:tc:SAML:2.0:ac:classes:PreviousSession";
    let x509 = "urn:oasis:names:tc:SAML:2.0:ac:classes:X509";
    let email = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";
    let cases: [Reference<'_>; 4] = [
        (
            "/api/v1/auth/token",
            &[
                ("audience", "cubetree.com"),
                ("nameQualifier", "www.successfactors.com"),
                ("apiKey", "k&1"),
            ],
            &[
                "NameQualifier=\"www.successfactors.com\">P123<",
                "Name=\"api_key\"><saml2:AttributeValue>k&amp;1<",
                session,
            ],
        ),
        (
            "/sap/bc/sec/oauth2/token",
            &[
                ("audience", "https://my300117.s4hana.example"),
                ("tokenServiceUser", "u"),
                ("tokenServicePassword", "p"),
                ("authnContextClassRef", x509),
                ("userIdSource", "email"),
                ("nameIdFormat", email),
            ],
            &[
                ">jane@example.com</saml2:NameID>",
                x509,
                "nameid-format:emailAddress",
            ],
        ),
        (
            "/oauth/token?company_id=SFPART019820&x=1",
            &[
                ("audience", "www.successfactors.com"),
                ("companyId", "SF"),
                ("assertionIssuer", "me"),
            ],
            &[
                "Recipient=\"RECIPIENT?company_id=SFPART019820&amp;x=1\"",
                "<saml2:Issuer>me<",
                session,
            ],
        ),
        (
            "/{tenant}/oauth/token/alias/a",
            &[
                ("audience", "a"),
                ("tokenServiceURLType", "Common"),
                ("nameIdFormat", email),
            ],
            &["Recipient=\"RECIPIENT\"", ">jane@example.com<"],
        ),
    ];
    for (path, more, parts) in cases {
        let mut config = config(more);
        for (key, value) in [
            ("Name", "d"),
            ("Authentication", "OAuth2SAMLBearerAssertion"),
            ("clientKey", "key"),
            ("tokenServiceURL", &service.url(path)),
        ] {
            config.set(key, value);
        }
        let token = good(&engine, &config, &by_user()).await;
        assert_eq!(token.token_type, "Bearer");
        let (head, _) = service.last();
        let authorized = head
            .headers
            .get("authorization")
            .map(|value| value.to_str().unwrap());
        assert_eq!(authorized, config.get("tokenServiceUser").map(|_| "Basic dTpw"));
        assert_eq!(service.parameter("client_id").as_deref(), Some("key"));
        assert_eq!(
            service.parameter("company_id").as_deref(),
            config.get("companyId")
        );
        let assertion = URL_SAFE_NO_PAD
            .decode(service.parameter("assertion").unwrap())
            .unwrap();
        let document = checked(&assertion, &pair.certificate, &other.certificate);
        let recipient = service.url(head.uri.path());
        for part in parts {
            let part = part.replace("RECIPIENT", &recipient);
            assert!(document.contains(&part), "{part}: {document}");
        }
    }
    assert_eq!(
        service.last().0.uri.path(),
        "/usertenant/oauth/token/alias/a",
        "T44: of the user's tenant"
    );
}

/// Seed L6928: a key of the destination's own, RSA or EC, instead of the subaccount's.
#[tokio::test]
async fn a_key_of_the_destination() {
    let other = Pair::rsa("other");
    for pair in [Pair::rsa("own.example"), Pair::ec("own.example")] {
        let around = Around {
            claims: user(),
            identities: [("own.p12".to_owned(), pair.identity())].into(),
            ..Around::default()
        };
        let engine = engine(around);
        let mut config = config(&[
            ("Name", "d"),
            ("Authentication", "SAMLAssertion"),
            ("audience", "a"),
            ("KeyStoreLocation", "own.p12"),
            ("KeyStorePassword", "p"),
        ]);
        let token = good(&engine, &config, &by_user()).await;
        let document = STANDARD.decode(token.value.expose_secret()).unwrap();
        let document = checked(&document, &pair.certificate, &other.certificate);
        assert!(
            document.contains("<saml2:Issuer>own.example</saml2:Issuer>"),
            "{document}"
        );
        config.remove("KeyStorePassword");
        let refused = super::token(&engine, &config, &by_user()).await;
        assert!(refused.error.unwrap().contains("no password"));
    }
}

/// T40, T41 in the answer; `SystemUser` needs no user (seed L7006).
#[tokio::test]
async fn users_that_cannot_be_named() {
    let pair = Pair::rsa("x");
    let engine = engine(around(&pair));
    let base = [
        ("Name", "d"),
        ("Authentication", "SAMLAssertion"),
        ("audience", "a"),
    ];
    for (more, expected) in [
        (("userIdSource", "nothing"), "user ID could not be determined"),
        (("userIdSource", "$..x"), "user ID could not be determined"),
        (
            ("nameIdFormat", "urn:persistent"),
            "user ID could not be determined",
        ),
        (("audience", ""), "the destination has no audience"),
        (("nameQualifier", "a\u{1}b"), "control character"),
    ] {
        let mut config = config(&base);
        config.set(more.0, more.1);
        let token = token(&engine, &config, &by_user()).await;
        let error = token.error.as_deref().unwrap();
        assert!(error.starts_with(FAILED) && error.contains(expected), "{error}");
        assert!(token.token_type.is_empty() && token.value.expose_secret().is_empty());
    }
    let mut config = config(&base);
    config.set("SystemUser", "TECHNICAL");
    let token = good(&engine, &config, &Given::default()).await;
    let document = STANDARD.decode(token.value.expose_secret()).unwrap();
    let document = String::from_utf8(document).unwrap();
    assert!(document.contains(">TECHNICAL</saml2:NameID>") && !document.contains("AttributeStatement"));
}

#[test]
fn keys_that_cannot_sign() {
    let weak = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(weak.serialize_der()));
    let error = SigningKey::new(&der, b"", String::new()).unwrap_err();
    assert_eq!(error, super::super::signing::SigningError::Kind);
}
