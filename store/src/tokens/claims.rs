//! Looks things up in the claims of a user's token: by the name of a root element, or by JSONPath (RFC 9535).

use std::borrow::Cow;

use jsonpath_rust::parser::model::{Segment, Selector};
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::{Map, Value};

/// Longest expression; the parser works recursively.
const MAX_EXPRESSION: usize = 256;

/// An expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("is no JSONPath expression; use for example $.user_attributes.id")]
    Syntax,
    #[error("is longer than {MAX_EXPRESSION} characters; shorten it")]
    TooLong,
    /// Their cost grows with the depth of the token to the power of their number.
    #[error("uses \"..\", filters or lists, which are not supported; name each element from the root on")]
    Unsupported,
}

/// What `source` points to: a plain name is that of a root element; what begins with `$` is a path (seed L13590-L13599).
pub(crate) fn find<'a>(claims: &'a Value, source: &str) -> Result<Option<&'a Value>, PathError> {
    if !source.starts_with('$') {
        return Ok(claims.get(source));
    }
    if source.len() > MAX_EXPRESSION {
        return Err(PathError::TooLong);
    }
    let query = parse_json_path(&standard(source)).map_err(|_| PathError::Syntax)?;
    if !query.segments.iter().all(is_plain) {
        return Err(PathError::Unsupported);
    }
    let found = js_path_process(&query, claims).map_err(|_| PathError::Syntax)?;
    Ok(found.into_iter().next().map(|found| found.val()))
}

/// Names, places and "all": each visits a part of the token once, whatever stands before it.
fn is_plain(segment: &Segment) -> bool {
    matches!(
        segment,
        Segment::Selector(Selector::Name(_) | Selector::Index(_) | Selector::Wildcard)
    )
}

/// The seed writes `$.['a']['b']` (L13668), which the RFC does not know: there it is `$['a']['b']`.
fn standard(source: &str) -> Cow<'_, str> {
    if !source.contains(".[") {
        return Cow::Borrowed(source);
    }
    let mut quote = None;
    let mut text = String::with_capacity(source.len());
    let mut characters = source.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '.') if characters.peek() == Some(&'[') => continue,
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
        text.push(character);
    }
    Cow::Owned(text)
}

/// A value as text: a text, number or truth value, or a list of exactly one. Empty counts as none.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Array(list) => match list.as_slice() {
            [Value::Array(_)] | [] => None,
            [one] => text(one),
            _ => None,
        },
        Value::Null | Value::Object(_) => None,
    }
}

/// A claim of a map, as text.
pub(crate) fn claim(claims: &Map<String, Value>, name: &str) -> Option<String> {
    claims.get(name).and_then(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// T41 (seed L13590-L13600).
    #[test]
    fn names_and_paths_t41() {
        let claims = json!({
            "email": "a@b", "a.b": "dotted", "$x": "no", "n": 7, "one": ["x"], "two": ["x", "y"], "none": [], "empty": "",
            "user_attributes": {"id": ["P1"], "xs.saml.groups": ["g"]}, "list": [{"v": "first"}, {"v": "second"}],
        });
        for (source, expected) in [
            ("email", Some("a@b")),
            ("a.b", Some("dotted")),
            ("n", Some("7")),
            ("one", Some("x")),
            ("two", None),
            ("none", None),
            ("empty", None),
            ("user_attributes", None),
            ("Email", None),
            ("$.email", Some("a@b")),
            ("$.user_attributes.id", Some("P1")),
            ("$.user_attributes.id[0]", Some("P1")),
            ("$.['user_attributes']['xs.saml.groups']", Some("g")),
            ("$['user_attributes'].id", Some("P1")),
            ("$[\"a.b\"]", Some("dotted")),
            ("$.list[1].v", Some("second")),
            ("$.list[*].v", Some("first")),
            ("$.nothing.at.all", None),
        ] {
            let found = find(&claims, source).unwrap().and_then(text);
            assert_eq!(found.as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn expressions_that_cost_too_much_are_refused() {
        let long = format!("$.{}", "a".repeat(MAX_EXPRESSION));
        for (source, expected) in [
            ("$..email", PathError::Unsupported),
            ("$.list[?@.v == 'first']", PathError::Unsupported),
            ("$['email','n']", PathError::Unsupported),
            ("$.list[?(@.v", PathError::Syntax),
            ("$email", PathError::Syntax),
            (long.as_str(), PathError::TooLong),
        ] {
            assert_eq!(find(&json!({}), source), Err(expected), "{source}");
        }
    }
}
