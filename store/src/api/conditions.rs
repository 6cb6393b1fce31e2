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
    listed(headers, &IF_NONE_MATCH).any(|tag| tag == "*" || tag == etag)
}

/// The version `If-Match` asks for; `None` when any will do. More than one version is more than we need.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut tags = listed(headers, &IF_MATCH);
    match (tags.next(), tags.next()) {
        (None, _) | (Some("*"), None) => Ok(None),
        (Some(tag), None) => Ok(Some(tag.to_owned())),
        _ => Err(ApiError::bad_request(
            "If-Match names several versions; send the one you read",
        )),
    }
}

/// Entity tags of a header, without quotes and weakness; some clients leave the quotes out.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
        .filter(|tag| !tag.is_empty())
}

/// Options of a find call.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FindOptions {
    /// Only the configuration.
    pub(crate) skip_tokens: bool,
    /// The configuration without secrets, and no tokens, which are credentials too (seed L2309).
    pub(crate) skip_credentials: bool,
}

/// Reads the options of a find call.
pub(crate) fn find_options(query: Option<&str>) -> Result<FindOptions, ApiError> {
    let mut options = FindOptions::default();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let target = match name.as_ref() {
            "$skipTokenRetrieval" => &mut options.skip_tokens,
            "$skipCredentials" => &mut options.skip_credentials,
            _ => {
                refuse_unknown(&name)?;
                continue;
            }
        };
        *target = match value.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(ApiError::bad_request(format!("{name} is neither true nor false"))),
        };
    }
    Ok(options)
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
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, text.parse().unwrap());
            assert_eq!(none_match(&headers, "a"), matches, "{text}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(if_match(&headers).unwrap(), None);
        headers.insert(IF_MATCH, "\"a\"".parse().unwrap());
        assert_eq!(if_match(&headers).unwrap().as_deref(), Some("a"));
        headers.insert(IF_MATCH, "\"a\", \"b\"".parse().unwrap());
        assert!(if_match(&headers).is_err());
    }

    #[test]
    fn options() {
        let all = FindOptions {
            skip_tokens: true,
            skip_credentials: true,
        };
        assert_eq!(find_options(None).unwrap(), FindOptions::default());
        assert_eq!(
            find_options(Some("%24skipTokenRetrieval=TRUE&$skipCredentials=true&x=1")).unwrap(),
            all
        );
        assert!(find_options(Some("$skipTokenRetrieval=yes")).is_err());
        assert!(find_options(Some("$includeMetadata=labels")).is_err());
        assert!(no_options(Some("x=1")).is_ok() && no_options(Some("$page=1")).is_err());
    }
}
