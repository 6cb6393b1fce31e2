//! What a list is asked for: its options, and the headers that lead from page to page (later API).

use super::error::ApiError;
use super::filter::Filter;

/// Things of a page unless told otherwise.
const PAGE_SIZE: u32 = 10;

/// Most things of a page.
const MAX_PAGE_SIZE: u32 = 1000;

/// Parts of `$metadata`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) modification_time: bool,
    pub(crate) etag: bool,
    pub(crate) labels: bool,
    pub(crate) shared: bool,
}

impl Metadata {
    fn read(text: &str) -> Result<Self, ApiError> {
        let mut parts = Self::default();
        for part in text
            .split([';', ','])
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match part {
                "modification_time" => parts.modification_time = true,
                "etag" => parts.etag = true,
                "labels" => parts.labels = true,
                "shared_with_subscriber" => parts.shared = true,
                _ => {
                    return Err(ApiError::bad_request(
                        "$includeMetadata has parts among modification_time;etag;labels;shared_with_subscriber",
                    ));
                }
            }
        }
        Ok(parts)
    }
}

/// A page that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// From 1.
    pub(crate) number: u32,
    pub(crate) size: u32,
    /// Whether the number of pages is asked for.
    pub(crate) page_count: bool,
    /// Whether the number of things is asked for.
    pub(crate) entity_count: bool,
}

/// What a list is asked for; one mode at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Everything, or what a filter lets through.
    Whole {
        filter: Option<Filter>,
        metadata: Metadata,
    },
    /// Names only.
    Names,
    /// One page.
    Page(Page),
}

/// Reads the query of a list.
pub(crate) fn listing(query: Option<&str>) -> Result<Listing, ApiError> {
    let (mut filter, mut metadata, mut names) = (None, None, false);
    let (mut number, mut size, mut page_count, mut entity_count) = (None, None, None, None);
    let mut given = Vec::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if !name.starts_with('$') {
            continue;
        }
        if given.contains(&name) {
            return Err(ApiError::bad_request(format!(
                "The option {} comes twice; send it once",
                cut(&name)
            )));
        }
        match name.as_ref() {
            "$filter" => filter = Some(Filter::read(&value)?),
            "$includeMetadata" => metadata = Some(Metadata::read(&value)?),
            "$select" if value == "Name" => names = true,
            "$select" => {
                return Err(ApiError::bad_request(
                    "$select may be Name; leave it out for all properties",
                ));
            }
            "$page" => number = Some(count(&name, &value, u32::MAX)?),
            "$pageSize" => size = Some(count(&name, &value, MAX_PAGE_SIZE)?),
            "$pageCount" => page_count = Some(flag(&name, &value)?),
            "$entityCount" => entity_count = Some(flag(&name, &value)?),
            _ => return Err(unknown(&name)),
        }
        given.push(name);
    }
    let paged = given.iter().any(|name| {
        matches!(
            name.as_ref(),
            "$page" | "$pageSize" | "$pageCount" | "$entityCount"
        )
    });
    let whole = filter.is_some() || metadata.is_some();
    match (whole, names, paged) {
        (_, false, false) => Ok(Listing::Whole {
            filter,
            metadata: metadata.unwrap_or_default(),
        }),
        (false, true, false) => Ok(Listing::Names),
        (false, false, true) => Ok(Listing::Page(Page {
            number: number.unwrap_or(1),
            size: size.unwrap_or(PAGE_SIZE),
            page_count: page_count.unwrap_or_default(),
            entity_count: entity_count.unwrap_or_default(),
        })),
        _ => Err(ApiError::bad_request(
            "$select, $page and its kin, and $filter with $includeMetadata do not go together; send one of them",
        )),
    }
}

/// An option of a list that there is not.
fn unknown(name: &str) -> ApiError {
    let name = cut(name);
    ApiError::bad_request(format!(
        "The option {name} is not supported here; use $filter, $includeMetadata, $select, $page, $pageSize, $pageCount \
         or $entityCount"
    ))
}

fn cut(name: &str) -> String {
    name.chars().take(40).collect()
}

fn count(name: &str, value: &str, most: u32) -> Result<u32, ApiError> {
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| ApiError::bad_request(format!("{name} is a number from 1 to {most}")))
}

fn flag(name: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        value if value.eq_ignore_ascii_case("true") => Ok(true),
        value if value.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(ApiError::bad_request(format!("{name} is neither true nor false"))),
    }
}

impl Page {
    /// Things before this page.
    pub(crate) fn offset(self) -> u64 {
        u64::from(self.number.saturating_sub(1)) * u64::from(self.size)
    }

    /// How many pages `entities` things have.
    pub(crate) fn pages(self, entities: u64) -> u64 {
        entities.div_ceil(u64::from(self.size))
    }

    /// The `Link` header of this page of `path`, if there is another page: in single quotes, as the original service has
    /// it.
    pub(crate) fn link(self, path: &str, entities: u64) -> Option<String> {
        let (number, pages) = (u64::from(self.number), self.pages(entities));
        let link = |number: u64, relation: &str| {
            format!(
                "<{path}?$page={number}&$pageSize={}>; rel='{relation}'",
                self.size
            )
        };
        // Behind the end the way back leads to the last page.
        let previous = (number > 1 && pages > 0).then(|| link((number - 1).min(pages), "previous"));
        let next = (number < pages).then(|| link(number + 1, "next"));
        let links: Vec<_> = previous.into_iter().chain(next).collect();
        (!links.is_empty()).then(|| links.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32, size: u32) -> Page {
        Page {
            number,
            size,
            page_count: false,
            entity_count: false,
        }
    }

    #[test]
    fn one_mode_at_a_time() {
        let whole = |filter, metadata| Listing::Whole { filter, metadata };
        let counted = Page {
            page_count: true,
            ..page(2, 5)
        };
        let both = Metadata {
            etag: true,
            labels: true,
            ..Metadata::default()
        };
        for (query, expected) in [
            (None, whole(None, Metadata::default())),
            (Some("x=1"), whole(None, Metadata::default())),
            (
                Some("$filter=Name%20in%20('a%2520b')"),
                whole(Some(Filter::In(vec!["a b".into()])), Metadata::default()),
            ),
            (Some("%24includeMetadata=etag;labels"), whole(None, both)),
            (Some("$select=Name"), Listing::Names),
            (Some("$page=3"), Listing::Page(page(3, 10))),
            (Some("$pageSize=1000"), Listing::Page(page(1, 1000))),
            (
                Some("$page=2&$pageSize=5&$pageCount=TRUE&$entityCount=false"),
                Listing::Page(counted),
            ),
        ] {
            assert_eq!(listing(query).unwrap(), expected, "{query:?}");
        }
        for query in [
            "$page=0",
            "$page=-1",
            "$page=x",
            "$page=",
            "$pageSize=0",
            "$pageSize=1001",
            "$pageCount=1",
            "$select=URL",
            "$select=",
            "$filter=",
            "$includeMetadata=owner",
            "$top=1",
            "$page=1&$page=2",
            "$select=Name&$page=1",
            "$page=1&$filter=startswith(Name,'a')",
            "$select=Name&$includeMetadata=etag",
        ] {
            assert!(listing(Some(query)).is_err(), "{query}");
        }
    }

    #[test]
    fn pages_lead_to_their_neighbours() {
        let previous = "</x?$page=1&$pageSize=10>; rel='previous'";
        let next = "</x?$page=3&$pageSize=10>; rel='next'";
        for (number, entities, expected) in [
            (1, 10, None),
            (1, 0, None),
            (2, 25, Some(format!("{previous}, {next}"))),
            (2, 20, Some(previous.to_owned())),
            (9, 5, Some(previous.to_owned())),
            (9, 0, None),
        ] {
            assert_eq!(
                page(number, 10).link("/x", entities),
                expected,
                "{number} of {entities}"
            );
        }
        assert_eq!((page(3, 10).offset(), page(3, 10).pages(21)), (20, 3));
        assert_eq!(page(u32::MAX, 1000).offset(), 4_294_967_294_000);
    }
}
