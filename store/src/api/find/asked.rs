//! What a find call asks for beside the name: options of the query, fragments, chains, the tenant.

use http::HeaderMap;
use landbridge_destination::Level;
use landbridge_destination::oauth::check_subdomain;

use crate::api::error::ApiError;

/// Most fragments merged into one destination.
const MAX_FRAGMENTS: usize = 20;

/// Which of the two calls it is. The first searches instance and subaccount level, the second looks at the level it is
/// told and at no other (later API).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// `/v1/destinations/{name}`
    V1,
    /// `/v2/destinations/{name}@{level}`
    V2,
}

/// Options of the query.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// Only the configuration.
    pub(crate) skip_tokens: bool,
    /// The configuration without secrets, and no tokens, which are credentials too (seed L2309).
    pub(crate) skip_credentials: bool,
    /// With `$metadata.labels`.
    pub(crate) labels: bool,
    /// With `$metadata.owner`.
    pub(crate) owner: bool,
}

impl Options {
    /// Whether the answer has neither tokens nor what they are made with.
    pub(crate) fn without_tokens(self) -> bool {
        self.skip_tokens || self.skip_credentials
    }
}

/// Reads the options of a find call.
pub(crate) fn options(query: Option<&str>, version: Version) -> Result<Options, ApiError> {
    let mut options = Options::default();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "$skipTokenRetrieval" => options.skip_tokens = flag(&name, &value)?,
            "$skipCredentials" => options.skip_credentials = flag(&name, &value)?,
            "$includeMetadata" => {
                for part in value
                    .split([';', ','])
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                {
                    match (part, version) {
                        ("labels", _) => options.labels = true,
                        ("owner", Version::V2) => options.owner = true,
                        _ => return Err(unknown_metadata(version)),
                    }
                }
            }
            name if name.starts_with('$') => {
                let name: String = name.chars().take(40).collect();
                return Err(ApiError::bad_request(format!(
                    "There is no option {name} here; use $skipTokenRetrieval, $skipCredentials or $includeMetadata"
                )));
            }
            _ => {}
        }
    }
    Ok(options)
}

fn flag(name: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        value if value.eq_ignore_ascii_case("true") => Ok(true),
        value if value.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(ApiError::bad_request(format!("{name} is neither true nor false"))),
    }
}

fn unknown_metadata(version: Version) -> ApiError {
    ApiError::bad_request(match version {
        Version::V1 => "$includeMetadata of this call may be labels",
        Version::V2 => "$includeMetadata of this call may be owner, labels or owner;labels",
    })
}

/// The name and level in the path of the second call; `instance` when none is named.
pub(crate) fn name_and_level(path: &str) -> Result<(&str, Level), ApiError> {
    match path.rsplit_once('@') {
        Some((name, level)) => {
            let level = level
                .parse()
                .map_err(|error: landbridge_destination::levels::UnknownLevel| {
                    ApiError::bad_request(error.to_string())
                })?;
            Ok((name, level))
        }
        None => Ok((path, Level::Instance)),
    }
}

/// A header that may come once, trimmed; `None` when it is absent or empty.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ApiError::bad_request(format!(
            "The header {name} is sent twice; send it once"
        )));
    }
    let text = value
        .to_str()
        .map_err(|_| ApiError::bad_request(format!("The header {name} has characters that are not ASCII")))?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

/// Fragments to merge, in their order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct FragmentsAsked {
    /// Names, each with its level in the second call.
    pub(crate) names: Vec<(String, Option<Level>)>,
    /// Whether the answer is the destination alone when there is no such fragment.
    pub(crate) optional: bool,
}

/// Reads `X-fragment-name` and `X-fragment-optional`.
pub(crate) fn fragments(headers: &HeaderMap, version: Version) -> Result<FragmentsAsked, ApiError> {
    let names = single(headers, "x-fragment-name")?;
    let optional = single(headers, "x-fragment-optional")?;
    read_fragments(names, optional, version)
}

/// As [`fragments`], for the two values wherever they come from.
pub(crate) fn read_fragments(
    names: Option<&str>,
    optional: Option<&str>,
    version: Version,
) -> Result<FragmentsAsked, ApiError> {
    let optional = match optional {
        Some(value) => flag("X-fragment-optional", value)?,
        None => false,
    };
    let names = names
        .into_iter()
        .flat_map(|names| names.split(','))
        .map(|name| fragment(name.trim(), version))
        .collect::<Result<Vec<_>, _>>()?;
    if names.len() > MAX_FRAGMENTS {
        return Err(ApiError::bad_request(format!(
            "X-fragment-name has more than {MAX_FRAGMENTS} fragments; name fewer"
        )));
    }
    if optional && names.len() > 1 {
        return Err(ApiError::bad_request(
            "X-fragment-optional goes with one fragment; name one, or leave it out",
        ));
    }
    Ok(FragmentsAsked { names, optional })
}

fn fragment(text: &str, version: Version) -> Result<(String, Option<Level>), ApiError> {
    if text.is_empty() {
        return Err(ApiError::bad_request(
            "X-fragment-name has an empty name; separate names by one comma",
        ));
    }
    match version {
        Version::V1 if text.contains('@') => Err(ApiError::bad_request(
            "X-fragment-name of this call has names without a level; the fragment is looked for where the destination is",
        )),
        Version::V1 => Ok((text.to_owned(), None)),
        Version::V2 => name_and_level(text).map(|(name, level)| (name.to_owned(), Some(level))),
    }
}

/// `X-tenant`: subdomain of the tenant whose token service is asked.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    if headers.get("x-tenant").is_some_and(http::HeaderValue::is_empty) {
        return Err(ApiError::bad_request(
            "The header X-tenant is empty; send the subdomain of the tenant or leave it out",
        ));
    }
    let Some(text) = single(headers, "x-tenant")? else {
        return Ok(None);
    };
    check_subdomain(text).map(|()| Some(text)).map_err(|_| {
        ApiError::bad_request("The header X-tenant is no subdomain; use letters, digits and '-', at most 63")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_both_calls() {
        let all = Options {
            skip_tokens: true,
            skip_credentials: true,
            labels: true,
            owner: false,
        };
        assert_eq!(options(None, Version::V1).unwrap(), Options::default());
        let query = "%24skipTokenRetrieval=TRUE&$skipCredentials=true&x=1&$includeMetadata=labels";
        assert_eq!(options(Some(query), Version::V1).unwrap(), all);
        let both = options(Some("$includeMetadata=owner;labels"), Version::V2).unwrap();
        assert!(both.owner && both.labels);
        for (query, version) in [
            ("$skipTokenRetrieval=yes", Version::V1),
            ("$includeMetadata=owner", Version::V1),
            ("$includeMetadata=etag", Version::V2),
            ("$page=1", Version::V2),
        ] {
            assert!(options(Some(query), version).is_err(), "{query}");
        }
    }

    #[test]
    fn fragments_of_both_calls() {
        let read = |names, optional, version| read_fragments(Some(names), optional, version);
        let two = read("a, b", None, Version::V1).unwrap();
        assert_eq!(two.names, [("a".to_owned(), None), ("b".to_owned(), None)]);
        let levels = read("a@provider_subaccount,b", None, Version::V2).unwrap();
        assert_eq!(
            levels.names,
            [
                ("a".to_owned(), Some(Level::ProviderSubaccount)),
                ("b".to_owned(), Some(Level::Instance))
            ]
        );
        assert!(read("a", Some("true"), Version::V1).unwrap().optional);
        for (names, optional, version) in [
            ("a,,b", None, Version::V1),
            ("a@instance", None, Version::V1),
            ("a@nowhere", None, Version::V2),
            ("a,b", Some("true"), Version::V1),
            ("a", Some("maybe"), Version::V1),
        ] {
            assert!(read(names, optional, version).is_err(), "{names} {optional:?}");
        }
        let many = vec!["f"; MAX_FRAGMENTS + 1].join(",");
        assert!(read(&many, None, Version::V1).is_err());
        assert_eq!(
            read_fragments(None, None, Version::V2).unwrap(),
            FragmentsAsked::default()
        );
    }

    #[test]
    fn tenants() {
        let mut headers = HeaderMap::new();
        assert_eq!(tenant(&headers).unwrap(), None);
        for (value, expected) in [
            ("acme", Ok("acme")),
            ("a.b", Err(())),
            ("", Err(())),
            (" ", Err(())),
        ] {
            headers.insert("x-tenant", http::HeaderValue::from_static(value));
            let found = tenant(&headers).map(Option::unwrap_or_default).map_err(|_| ());
            assert_eq!(
                found.ok().filter(|text| !text.is_empty()).ok_or(()),
                expected,
                "{value:?}"
            );
        }
        headers.append("x-tenant", http::HeaderValue::from_static("b"));
        assert!(tenant(&headers).is_err());
    }
}
