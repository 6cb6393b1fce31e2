//! The enveloped signature of an assertion (XML Signature 1.1, SAML core section 5.4).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

/// How it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureMethod {
    /// RSA with PKCS#1 v1.5 padding and SHA-256 (RFC 6931 section 2.3.2).
    RsaSha256,
    /// ECDSA with SHA-256; the signature is r and s side by side (RFC 6931 section 2.3.6).
    EcdsaSha256,
}

impl SignatureMethod {
    fn uri(self) -> &'static str {
        match self {
            Self::RsaSha256 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            Self::EcdsaSha256 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        }
    }
}

/// `SignedInfo` in canonical form: with the declaration of its prefix, which inside the document stands on `Signature`.
/// `id` is one of our own, so it needs no escape.
pub(super) fn signed_info(id: &str, assertion: &[u8], method: SignatureMethod) -> String {
    let digest = STANDARD.encode(digest(&SHA256, assertion));
    let method = method.uri();
    format!(
        "<ds:SignedInfo xmlns:ds=\"{DS}\">\
         <ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"{method}\"></ds:SignatureMethod>\
         <ds:Reference URI=\"#{id}\">\
         <ds:Transforms>\
         <ds:Transform Algorithm=\"{DS}enveloped-signature\"></ds:Transform>\
         <ds:Transform Algorithm=\"{EXCLUSIVE}\"></ds:Transform>\
         </ds:Transforms>\
         <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"></ds:DigestMethod>\
         <ds:DigestValue>{digest}</ds:DigestValue>\
         </ds:Reference>\
         </ds:SignedInfo>"
    )
}

/// `Signature` as it stands in the document.
pub(super) fn element(signed_info: &str, signature: &str, certificate: Option<&str>) -> String {
    let declared = format!(" xmlns:ds=\"{DS}\"");
    let signed_info = signed_info.replacen(&declared, "", 1);
    let key_info = certificate.map(|certificate| {
        format!(
            "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
        )
    });
    format!(
        "<ds:Signature{declared}>{signed_info}<ds:SignatureValue>{signature}</ds:SignatureValue>{}</ds:Signature>",
        key_info.unwrap_or_default()
    )
}
