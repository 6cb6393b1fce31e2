//! SAML 2.0 assertions: written, and made ready for an enveloped XML signature. Without I/O and without keys.
//!
//! There is no XML library: the text is written in the form that exclusive canonicalisation would give it, so what is
//! digested and signed is what is sent. That means one prefix per namespace, declared where it is first used;
//! attributes in canonical order; no empty-element tags; no white space between elements; and the escapes of
//! Canonical XML 1.0 section 2.3 and no others.

mod signature;
mod xml;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

pub use signature::SignatureMethod;
use xml::Writer;

/// How far back the validity begins: the clock of the receiver may be slow.
const EARLIER: SignedDuration = SignedDuration::from_secs(120);

/// `NameID` format when the destination has none (seed L7047).
pub const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";

/// `NameID` format of mail addresses (seed L13607).
pub const EMAIL_ADDRESS: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";

/// Most attributes of an assertion. A user of a large directory has some hundred groups, which are one attribute.
pub const MAX_ATTRIBUTES: usize = 256;

/// Longest assertion: as a form parameter it has to be read by token services, which take a few 100 KiB at most.
pub const MAX_ASSERTION_BYTES: usize = 128 * 1024;

/// An assertion that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SamlError {
    /// XML 1.0 has no way to write it (section 2.2).
    #[error("{0} has a control character, which XML cannot carry; remove it")]
    Character(&'static str),
    /// Too many attributes.
    #[error("the user has {0} attributes, {MAX_ATTRIBUTES} are allowed")]
    Attributes(usize),
    /// Too large.
    #[error("the assertion is larger than {} KiB; reduce the attributes of the user", MAX_ASSERTION_BYTES / 1024)]
    Size,
    /// No such time.
    #[error("the time of the assertion is out of range; check the clock")]
    Time,
}

/// An attribute of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Name.
    pub name: String,
    /// Values, at least one.
    pub values: Vec<String>,
}

/// What an assertion says.
#[derive(Debug, Clone, Copy)]
pub struct Assertion<'a> {
    /// Identifier: begins with a letter or `_`, never used twice.
    pub id: &'a str,
    /// Who says it.
    pub issuer: &'a str,
    /// The user.
    pub name_id: &'a str,
    /// What kind of name that is.
    pub name_id_format: &'a str,
    /// Security domain of the name.
    pub name_qualifier: Option<&'a str>,
    /// Address it is presented at.
    pub recipient: Option<&'a str>,
    /// Who it is meant for.
    pub audience: &'a str,
    /// How the user proved to be it.
    pub authn_context: &'a str,
    /// More of the user.
    pub attributes: &'a [Attribute],
    /// When it is made.
    pub issued: Timestamp,
    /// How long it holds.
    pub life: Duration,
}

impl Assertion<'_> {
    /// Writes it, up to the signature.
    ///
    /// # Errors
    /// See [`SamlError`].
    pub fn unsigned(&self, method: SignatureMethod) -> Result<Unsigned, SamlError> {
        if self.attributes.len() > MAX_ATTRIBUTES {
            return Err(SamlError::Attributes(self.attributes.len()));
        }
        let times = Times::new(self.issued, self.life)?;
        let mut xml = Writer::new();
        let saml = ("xmlns:saml2", "urn:oasis:names:tc:SAML:2.0:assertion");
        let head = [
            saml,
            ("ID", self.id),
            ("IssueInstant", &times.issued),
            ("Version", "2.0"),
        ];
        xml.open("saml2:Assertion", &head)?;
        xml.element("saml2:Issuer", &[], self.issuer, "assertionIssuer")?;
        let signature_at = xml.len();
        self.subject(&mut xml, &times)?;
        self.conditions(&mut xml, &times)?;
        self.authentication(&mut xml, &times)?;
        self.attributes(&mut xml)?;
        xml.close("saml2:Assertion");
        let text = xml.finish();
        if text.len() > MAX_ASSERTION_BYTES {
            return Err(SamlError::Size);
        }
        Ok(Unsigned {
            signed_info: signature::signed_info(self.id, text.as_bytes(), method),
            text,
            signature_at,
        })
    }

    fn subject(&self, xml: &mut Writer, times: &Times) -> Result<(), SamlError> {
        xml.open("saml2:Subject", &[])?;
        let format = ("Format", self.name_id_format);
        match self.name_qualifier {
            Some(qualifier) => {
                let attributes = [format, ("NameQualifier", qualifier)];
                xml.element("saml2:NameID", &attributes, self.name_id, "the user id")?;
            }
            None => xml.element("saml2:NameID", &[format], self.name_id, "the user id")?,
        }
        let bearer = [("Method", "urn:oasis:names:tc:SAML:2.0:cm:bearer")];
        xml.open("saml2:SubjectConfirmation", &bearer)?;
        let end = ("NotOnOrAfter", times.not_on_or_after.as_str());
        match self.recipient {
            Some(recipient) => {
                xml.open("saml2:SubjectConfirmationData", &[end, ("Recipient", recipient)])?;
            }
            None => xml.open("saml2:SubjectConfirmationData", &[end])?,
        }
        xml.close("saml2:SubjectConfirmationData");
        xml.close("saml2:SubjectConfirmation");
        xml.close("saml2:Subject");
        Ok(())
    }

    fn conditions(&self, xml: &mut Writer, times: &Times) -> Result<(), SamlError> {
        let span = [
            ("NotBefore", times.not_before.as_str()),
            ("NotOnOrAfter", &times.not_on_or_after),
        ];
        xml.open("saml2:Conditions", &span)?;
        xml.open("saml2:AudienceRestriction", &[])?;
        xml.element("saml2:Audience", &[], self.audience, "audience")?;
        xml.close("saml2:AudienceRestriction");
        xml.close("saml2:Conditions");
        Ok(())
    }

    fn authentication(&self, xml: &mut Writer, times: &Times) -> Result<(), SamlError> {
        xml.open("saml2:AuthnStatement", &[("AuthnInstant", &times.issued)])?;
        xml.open("saml2:AuthnContext", &[])?;
        let class = self.authn_context;
        xml.element("saml2:AuthnContextClassRef", &[], class, "authnContextClassRef")?;
        xml.close("saml2:AuthnContext");
        xml.close("saml2:AuthnStatement");
        Ok(())
    }

    fn attributes(&self, xml: &mut Writer) -> Result<(), SamlError> {
        if self.attributes.is_empty() {
            return Ok(());
        }
        xml.open("saml2:AttributeStatement", &[])?;
        for attribute in self.attributes {
            xml.open("saml2:Attribute", &[("Name", &attribute.name)])?;
            for value in &attribute.values {
                xml.element("saml2:AttributeValue", &[], value, "an attribute of the user")?;
            }
            xml.close("saml2:Attribute");
            // Between attributes, so that what is too large is not written to its end.
            if xml.len() > MAX_ASSERTION_BYTES {
                return Err(SamlError::Size);
            }
        }
        xml.close("saml2:AttributeStatement");
        Ok(())
    }
}

/// The moments of an assertion, as `xs:dateTime` in UTC (SAML core section 1.3.3).
struct Times {
    issued: String,
    not_before: String,
    not_on_or_after: String,
}

impl Times {
    fn new(issued: Timestamp, life: Duration) -> Result<Self, SamlError> {
        let text = |time: Timestamp| format!("{time:.3}");
        let not_before = issued.checked_sub(EARLIER).map_err(|_| SamlError::Time)?;
        let end = issued.checked_add(life).map_err(|_| SamlError::Time)?;
        Ok(Self {
            issued: text(issued),
            not_before: text(not_before),
            not_on_or_after: text(end),
        })
    }
}

/// An assertion that waits for its signature. It names a user, so `Debug` hides it.
pub struct Unsigned {
    text: String,
    signature_at: usize,
    signed_info: String,
}

impl std::fmt::Debug for Unsigned {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Unsigned").finish_non_exhaustive()
    }
}

impl Unsigned {
    /// The bytes to sign.
    pub fn signed_bytes(&self) -> &[u8] {
        self.signed_info.as_bytes()
    }

    /// The document, with its XML declaration (seed L8936). `certificate` (DER) goes into it when given.
    pub fn signed(self, signature: &[u8], certificate: Option<&[u8]>) -> SecretString {
        let certificate = certificate.map(|der| STANDARD.encode(der));
        let element = signature::element(
            &self.signed_info,
            &STANDARD.encode(signature),
            certificate.as_deref(),
        );
        let (head, tail) = self.text.split_at(self.signature_at);
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{head}{element}{tail}").into()
    }
}

#[cfg(test)]
mod tests;
