//! Conditional requests (RFC 9110 section 13) and the `$` options of the query.

use http::header::{HeaderMap, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue};

use super::error::ApiError;

/// The `ETag` value of a version.
pub(crate) fn etag_value(etag: &str) -> HeaderValue {
    // Versions are hexadecimal digits, which every header may have.
    HeaderValue::from_str(&format!("\"{etag}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` names this version.
pub(crate) fn none_match(headers: &HeaderMap, etag: &str) -> bool {
    listed(headers, &IF_NONE_MATCH).any(|tag| tag == "*" || opaque(tag) == etag)
}

/// The version `If-Match` asks for; `None` when any will do. More than one version is more than we need. A condition
/// that cannot be read is refused: without it the write would be unconditional.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IF_MATCH).iter().peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    let unreadable = || ApiError::bad_request("If-Match is no version; send the ETag you read, or * for any");
    if values.any(|value| value.to_str().is_err()) {
        return Err(unreadable());
    }
    let mut tags = listed(headers, &IF_MATCH);
    match (tags.next(), tags.next()) {
        (None, _) => Err(unreadable()),
        (Some("*"), None) => Ok(None),
        (Some(tag), None) => Ok(Some(opaque(tag).to_owned())),
        _ => Err(ApiError::bad_request(
            "If-Match names several versions; send the one you read",
        )),
    }
}

/// Entity tags of a header, as they are.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
}

/// The version in an entity tag, without quotes and weakness; some clients leave the quotes out.
fn opaque(tag: &str) -> &str {
    tag.trim_start_matches("W/").trim_matches('"')
}

/// Options this version does not have are refused: an answer without the filter that was asked for would be wrong.
pub(crate) fn no_options(query: Option<&str>) -> Result<(), ApiError> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .try_for_each(|(name, _)| refuse_unknown(&name))
}

fn refuse_unknown(name: &str) -> Result<(), ApiError> {
    if name.starts_with('$') {
        let name: String = name.chars().take(40).collect();
        return Err(ApiError::bad_request(format!(
            "The option {name} is not supported by this version; leave it out"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        for (text, matches) in [
            ("\"a\"", true),
            ("a", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("", false),
            ("\"*\"", false),
            ("\"\"", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, text.parse().unwrap());
            assert_eq!(none_match(&headers, "a"), matches, "{text}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(if_match(&headers).unwrap(), None);
        // Neither an empty tag nor a quoted star is "any": no version has them, so the write is refused.
        for (text, expected) in [
            ("\"a\"", Some("a")),
            ("W/\"a\"", Some("a")),
            ("a", Some("a")),
            ("*", None),
            (" * ", None),
            ("\"*\"", Some("*")),
            ("\"\"", Some("")),
        ] {
            headers.insert(IF_MATCH, text.parse().unwrap());
            assert_eq!(if_match(&headers).unwrap().as_deref(), expected, "{text}");
        }
        for value in [&b"\"a\", \"b\""[..], b"*, \"a\"", b"", b" , ", b"\"\xe4\""] {
            headers.insert(IF_MATCH, HeaderValue::from_bytes(value).unwrap());
            assert!(if_match(&headers).is_err(), "{value:?}");
        }
    }

    #[test]
    fn options() {
        assert!(no_options(Some("x=1")).is_ok() && no_options(Some("$page=1")).is_err());
    }
}
