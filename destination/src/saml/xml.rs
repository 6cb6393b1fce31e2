//! Writes XML in canonical form (Canonical XML 1.0 section 2.3).

use super::SamlError;

/// Collects a document.
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn new() -> Self {
        Self(String::with_capacity(4096))
    }

    /// A start tag. The attributes come in canonical order: declarations, then by name.
    pub(super) fn open(&mut self, name: &str, attributes: &[(&'static str, &str)]) -> Result<(), SamlError> {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            escape(&mut self.0, value, true, attribute)?;
            self.0.push('"');
        }
        self.0.push('>');
        Ok(())
    }

    pub(super) fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element with text; `what` names it in messages.
    pub(super) fn element(
        &mut self,
        name: &str,
        attributes: &[(&'static str, &str)],
        text: &str,
        what: &'static str,
    ) -> Result<(), SamlError> {
        self.open(name, attributes)?;
        escape(&mut self.0, text, false, what)?;
        self.close(name);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

fn escape(into: &mut String, text: &str, attribute: bool, what: &'static str) -> Result<(), SamlError> {
    for character in text.chars() {
        match character {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' if !attribute => into.push_str("&gt;"),
            '"' if attribute => into.push_str("&quot;"),
            '\t' if attribute => into.push_str("&#x9;"),
            '\n' if attribute => into.push_str("&#xA;"),
            '\r' => into.push_str("&#xD;"),
            '\t' | '\n' => into.push(character),
            // XML 1.0 section 2.2: not even as a reference.
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => return Err(SamlError::Character(what)),
            other => into.push(other),
        }
    }
    Ok(())
}
