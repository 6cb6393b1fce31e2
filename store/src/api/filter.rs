//! `$filter` of lists and of bulk deletion (later API).

use percent_encoding::percent_decode_str;

use super::error::ApiError;

/// Longest time back, in minutes: a day.
const MAX_MINUTES: i64 = 1440;

/// The forms that there are, for those who sent another one.
const FORMS: &str = "Name in ('a', 'b') | startswith(Name, 'a') | endswith(Name, 'a') | \
                     modifiedwithin('30', 'minutes') | Label['key'] HAS ('a', 'b')";

/// What is let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// These names.
    In(Vec<String>),
    /// Names with this beginning.
    StartsWith(String),
    /// Names with this end.
    EndsWith(String),
    /// What was written in these last milliseconds.
    ModifiedWithin(i64),
    /// What has one of the values of a label.
    Label { key: String, values: Vec<String> },
}

impl Filter {
    /// Reads a filter, already decoded once as part of a query.
    pub(crate) fn read(text: &str) -> Result<Self, ApiError> {
        let mut rest = Rest(text.trim());
        let filter = rest.filter().filter(|_| rest.0.is_empty());
        filter.ok_or_else(|| {
            ApiError::bad_request(format!("$filter cannot be read; write it as one of: {FORMS}"))
        })
    }
}

/// What of a filter is not read yet.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn filter(&mut self) -> Option<Filter> {
        if self.word("Name") {
            return (self.word("in"))
                .then(|| self.texts(decoded).map(Filter::In))
                .flatten();
        }
        if self.word("startswith") {
            return self.of_name().map(Filter::StartsWith);
        }
        if self.word("endswith") {
            return self.of_name().map(Filter::EndsWith);
        }
        if self.word("modifiedwithin") {
            let values = self.texts(Some)?;
            let [minutes, unit] = values.as_slice() else {
                return None;
            };
            let minutes: i64 = minutes.parse().ok()?;
            return (unit.eq_ignore_ascii_case("minutes") && (1..=MAX_MINUTES).contains(&minutes))
                .then_some(Filter::ModifiedWithin(minutes * 60_000));
        }
        if self.word("Label") {
            self.sign('[')?;
            let key = self.text()?;
            self.sign(']')?;
            let values = self.word("has").then(|| self.texts(Some)).flatten()?;
            return Some(Filter::Label { key, values });
        }
        None
    }

    /// `(Name, 'text')`
    fn of_name(&mut self) -> Option<String> {
        self.sign('(')?;
        if !self.word("Name") {
            return None;
        }
        self.sign(',')?;
        let text = self.text()?;
        self.sign(')')?;
        Some(text)
    }

    /// `('one', 'two')`, at least one. Their number is bounded by the length of a URI.
    fn texts(&mut self, read: impl Fn(String) -> Option<String>) -> Option<Vec<String>> {
        self.sign('(')?;
        let mut texts = vec![read(self.text()?)?];
        while self.sign(',').is_some() {
            texts.push(read(self.text()?)?);
        }
        self.sign(')')?;
        Some(texts)
    }

    /// A text in quotes; a quote in it is doubled.
    fn text(&mut self) -> Option<String> {
        self.sign('\'')?;
        let mut text = String::new();
        loop {
            let (before, after) = self.0.split_once('\'')?;
            text.push_str(before);
            match after.strip_prefix('\'') {
                Some(after) => {
                    text.push('\'');
                    self.0 = after;
                }
                None => {
                    self.0 = after.trim_start();
                    return Some(text);
                }
            }
        }
    }

    /// A word in any case, not the beginning of a longer one.
    fn word(&mut self, word: &str) -> bool {
        let Some((found, after)) = self.0.split_at_checked(word.len()) else {
            return false;
        };
        let ends = !after.starts_with(|next: char| next.is_alphanumeric());
        let is = found.eq_ignore_ascii_case(word) && ends;
        if is {
            self.0 = after.trim_start();
        }
        is
    }

    fn sign(&mut self, sign: char) -> Option<()> {
        let after = self.0.strip_prefix(sign)?;
        // Blanks at the beginning of a text belong to it.
        self.0 = if sign == '\'' { after } else { after.trim_start() };
        Some(())
    }
}

/// Names are percent-encoded a second time, within the quotes.
fn decoded(text: String) -> Option<String> {
    let decoded = percent_decode_str(&text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        for (text, filter) in [
            ("Name in ('a')", Filter::In(texts(&["a"]))),
            (
                " name IN('a','b%20c' , 'd%27e')",
                Filter::In(texts(&["a", "b c", "d'e"])),
            ),
            ("startswith(Name, 'a''b')", Filter::StartsWith("a'b".into())),
            ("endswith( Name ,'%41')", Filter::EndsWith("%41".into())),
            (
                "modifiedwithin('30', 'minutes')",
                Filter::ModifiedWithin(1_800_000),
            ),
            (
                "modifiedwithin('1440','minutes')",
                Filter::ModifiedWithin(86_400_000),
            ),
            (
                "Label['k'] HAS ('v1', ' v2')",
                Filter::Label {
                    key: "k".into(),
                    values: texts(&["v1", " v2"]),
                },
            ),
        ] {
            assert_eq!(Filter::read(text).unwrap(), filter, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "Name",
            "Name in",
            "Name in ()",
            "Name in ('a'",
            "Name in ('a',)",
            "Name in ('a') x",
            "Name eq 'a'",
            "Name in ('%ff')",
            "Named in ('a')",
            "startswith(Type, 'a')",
            "startswith(Name)",
            "startswith(Name, 'a'b')",
            "modifiedwithin('0', 'minutes')",
            "modifiedwithin('1441', 'minutes')",
            "modifiedwithin('1', 'hours')",
            "modifiedwithin('-1', 'minutes')",
            "modifiedwithin('1')",
            "Label[k] HAS ('v')",
            "Label['k'] HAS ()",
            "Label['k'] in ('v')",
            "'",
            "''''",
            "\u{e9}\u{e9}\u{e9}",
        ] {
            let error = Filter::read(text).unwrap_err().to_string();
            assert!(error.contains("startswith(Name, 'a')"), "{text}: {error}");
        }
    }
}
