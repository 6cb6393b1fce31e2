//! The subaccount as an identity provider, in SAML 2.0 metadata of the form that the original service's administrators
//! write by hand (seed L11107-L11144).

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::TrustKey;

const PROTOCOL: (&str, &str) = (
    "protocolSupportEnumeration",
    "urn:oasis:names:tc:SAML:2.0:protocol",
);

/// Metadata that tells others what the subaccount signs with.
///
/// # Errors
/// None that memory does not run into; the writer has them in its signature.
pub(crate) fn identity_provider(key: &TrustKey) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::with_capacity(8192));
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let name = key.common_name();
    writer
        .create_element("ns3:EntityDescriptor")
        .with_attributes([
            ("ID", name),
            ("entityID", name),
            ("xmlns", "http://www.w3.org/2000/09/xmldsig#"),
            ("xmlns:ns2", "http://www.w3.org/2001/04/xmlenc#"),
            ("xmlns:ns4", "urn:oasis:names:tc:SAML:2.0:assertion"),
            ("xmlns:ns3", "urn:oasis:names:tc:SAML:2.0:metadata"),
        ])
        .write_inner_content(|writer| {
            for (element, signed) in [
                ("ns3:SPSSODescriptor", "AuthnRequestsSigned"),
                ("ns3:IDPSSODescriptor", "WantAuthnRequestsSigned"),
            ] {
                writer
                    .create_element(element)
                    .with_attributes([(signed, "true"), PROTOCOL])
                    .write_inner_content(|writer| descriptor(writer, key))?;
            }
            Ok(())
        })?;
    Ok(writer.into_inner())
}

fn descriptor(writer: &mut Writer<Vec<u8>>, key: &TrustKey) -> std::io::Result<()> {
    writer
        .create_element("ns3:KeyDescriptor")
        .with_attribute(("use", "signing"))
        .write_inner_content(|writer| {
            writer.create_element("KeyInfo").write_inner_content(|writer| {
                writer
                    .create_element("KeyName")
                    .write_text_content(BytesText::new(key.common_name()))?;
                writer.create_element("X509Data").write_inner_content(|writer| {
                    writer
                        .create_element("X509Certificate")
                        .write_text_content(BytesText::new(key.certificate()))?;
                    Ok(())
                })?;
                Ok(())
            })?;
            Ok(())
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;

    use super::*;

    /// D18: names and nesting of the seed's template, and values that come back as they were.
    #[test]
    fn has_the_form_of_the_template() {
        let key = TrustKey {
            role: "active".to_owned(),
            key: String::new(),
            certificate: "MIIB".to_owned(),
            pem: String::new(),
            common_name: "a&b<c>\"/sub-1".to_owned(),
        };
        let xml = identity_provider(&key).unwrap();
        let mut reader = Reader::from_reader(xml.as_slice());
        let (mut depth, mut elements, mut texts) = (0, Vec::new(), String::new());
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => {
                    let name = start.name().as_ref().to_owned();
                    elements.push(format!("{depth}{name}"));
                    depth += 1;
                }
                Event::End(_) => depth -= 1,
                Event::Text(text) => texts.push_str(text.as_ref()),
                Event::Eof => break,
                _ => {}
            }
        }
        let one = |element: &str| {
            [
                format!("1ns3:{element}"),
                "2ns3:KeyDescriptor".to_owned(),
                "3KeyInfo".to_owned(),
                "4KeyName".to_owned(),
                "4X509Data".to_owned(),
                "5X509Certificate".to_owned(),
            ]
        };
        let expected: Vec<_> = std::iter::once("0ns3:EntityDescriptor".to_owned())
            .chain(one("SPSSODescriptor"))
            .chain(one("IDPSSODescriptor"))
            .collect();
        assert_eq!(elements, expected);
        assert!(texts.contains("MIIB"), "{texts}");
        let text = String::from_utf8(xml).unwrap();
        assert!(
            text.contains("entityID=\"a&amp;b&lt;c&gt;&quot;/sub-1\""),
            "{text}"
        );
        assert!(text.contains("<KeyName>a&amp;b&lt;c&gt;"), "{text}");
    }
}
