use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;

fn assertion<'a>(attributes: &'a [Attribute], name_id: &'a str) -> Assertion<'a> {
    Assertion {
        id: "_1",
        issuer: "cfapps.example.com/sub-1",
        name_id,
        name_id_format: UNSPECIFIED,
        name_qualifier: Some("www.successfactors.com"),
        recipient: Some("https://h.example/oauth/token?company_id=\"S<1\"&b=1"),
        audience: "a&b",
        authn_context: "urn:oasis:names:tc:SAML:2.0:ac:classes:X509",
        attributes,
        issued: "2026-11-23T10:00:00.5Z".parse().unwrap(),
        life: Duration::from_secs(600),
    }
}

fn attribute(name: &str, values: &[&str]) -> Attribute {
    Attribute {
        name: name.into(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

/// The whole document, so that a change of one character is seen.
#[test]
fn the_document() {
    let attributes = [attribute("Groups", &["a<b", "tab\tcr\rlf\n\u{fc}"])];
    let unsigned = assertion(&attributes, "j&d")
        .unsigned(SignatureMethod::RsaSha256)
        .unwrap();
    let signed_info = String::from_utf8(unsigned.signed_bytes().to_vec()).unwrap();
    let inner = signed_info.replace(" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"", "");
    let document = unsigned.signed(b"sig", Some(b"der"));
    let expected = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <saml2:Assertion xmlns:saml2=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"_1\" \
         IssueInstant=\"2026-11-23T10:00:00.500Z\" Version=\"2.0\">\
         <saml2:Issuer>cfapps.example.com/sub-1</saml2:Issuer>\
         <ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{inner}\
         <ds:SignatureValue>c2ln</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>ZGVy\
         </ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>\
         <saml2:Subject><saml2:NameID Format=\"urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified\" \
         NameQualifier=\"www.successfactors.com\">j&amp;d</saml2:NameID>\
         <saml2:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\">\
         <saml2:SubjectConfirmationData NotOnOrAfter=\"2026-11-23T10:10:00.500Z\" \
         Recipient=\"https://h.example/oauth/token?company_id=&quot;S&lt;1&quot;&amp;b=1\">\
         </saml2:SubjectConfirmationData></saml2:SubjectConfirmation></saml2:Subject>\
         <saml2:Conditions NotBefore=\"2026-11-23T09:58:00.500Z\" NotOnOrAfter=\"2026-11-23T10:10:00.500Z\">\
         <saml2:AudienceRestriction><saml2:Audience>a&amp;b</saml2:Audience></saml2:AudienceRestriction>\
         </saml2:Conditions>\
         <saml2:AuthnStatement AuthnInstant=\"2026-11-23T10:00:00.500Z\"><saml2:AuthnContext>\
         <saml2:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:X509</saml2:AuthnContextClassRef>\
         </saml2:AuthnContext></saml2:AuthnStatement>\
         <saml2:AttributeStatement><saml2:Attribute Name=\"Groups\">\
         <saml2:AttributeValue>a&lt;b</saml2:AttributeValue>\
         <saml2:AttributeValue>tab\tcr&#xD;lf\n\u{fc}</saml2:AttributeValue>\
         </saml2:Attribute></saml2:AttributeStatement></saml2:Assertion>"
    );
    assert_eq!(document.expose_secret(), expected);
}

#[test]
fn what_is_left_out() {
    let mut plain = assertion(&[], "u");
    (plain.name_qualifier, plain.recipient) = (None, None);
    let text = plain
        .unsigned(SignatureMethod::EcdsaSha256)
        .unwrap()
        .signed(b"s", None);
    let text = text.expose_secret();
    for absent in ["AttributeStatement", "Recipient", "NameQualifier", "KeyInfo"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    assert!(text.contains("xmldsig-more#ecdsa-sha256"));
}

#[test]
fn what_xml_cannot_carry_is_refused() {
    for (name_id, attributes, expected) in [
        ("a\0b", vec![], SamlError::Character("the user id")),
        (
            "u",
            vec![attribute("n", &["\u{b}"])],
            SamlError::Character("an attribute of the user"),
        ),
        (
            "u",
            vec![attribute("n\u{ffff}", &["v"])],
            SamlError::Character("Name"),
        ),
        (
            "u",
            vec![attribute("n", &["v"]); MAX_ATTRIBUTES + 1],
            SamlError::Attributes(MAX_ATTRIBUTES + 1),
        ),
        (
            "u",
            vec![attribute("n", &[&"v".repeat(MAX_ASSERTION_BYTES)])],
            SamlError::Size,
        ),
    ] {
        let error = assertion(&attributes, name_id)
            .unsigned(SignatureMethod::RsaSha256)
            .unwrap_err();
        assert_eq!(error, expected);
    }
}
