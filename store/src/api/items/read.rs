//! Reading: one thing, and lists, which are sent while they are read.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{once, try_unfold};
use http::header::{CONTENT_TYPE, ETAG, HeaderMap, LINK};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::{Item, Level, place};
use crate::api::conditions::etag_value;
use crate::api::error::ApiError;
use crate::api::filter::Filter;
use crate::api::find::Configuration;
use crate::api::listing::{Listing, Metadata, Page, listing};
use crate::app::App;
use crate::auth::{Access, Authenticated};
use crate::db::{HeadRow, Place, now_ms};
use crate::records::{Record, RecordError, Records};

/// Things read from the database at a time while a list is sent; a list of any length needs this much memory.
const PAGE: u32 = 100;

/// Names looked at while a filter is applied: they are small, and nothing is opened.
const HEADS: u32 = 1000;

/// `GET /{name}`: the bare properties (D3).
pub(crate) async fn one<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Read)?;
    let Listing::Whole {
        filter: None,
        metadata,
    } = listing(query.as_deref())?
    else {
        return Err(ApiError::bad_request(
            "One thing is read with $includeMetadata or without options",
        ));
    };
    let records = T::records(&app);
    let record = records
        .get(&place, &name)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let shown = Configuration {
        properties: record.value.properties(),
        metadata: metadata_of(records, &place, &record, metadata).await?,
    };
    Ok(([(ETAG, etag_value(&record.etag))], Json(shown)).into_response())
}

/// `GET`: all of them, credentials included (D4); names only; or a page.
pub(crate) async fn list<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Read)?;
    let records = T::records(&app).clone();
    let mut headers = HeaderMap::new();
    let (source, metadata, names_only) = match listing(query.as_deref())? {
        Listing::Page(page) => {
            headers = page_headers(page, L::path::<T>(), records.count(&place).await?);
            (Source::Page(page.offset(), page.size), Metadata::default(), false)
        }
        Listing::Names => (
            Source::Scan(String::new(), Filter::StartsWith(String::new())),
            Metadata::default(),
            true,
        ),
        Listing::Whole { filter, metadata } => (source(&records, &place, filter).await?, metadata, false),
    };
    let sending = Sending {
        records,
        place,
        metadata,
        names_only,
    };
    // The first piece is read before the status is sent, so that a broken database is a 503 and not half a list.
    let (first, next) = sending.piece(source, true).await?;
    let rest = try_unfold((sending, next), async |(sending, next)| {
        let Some(source) = next else {
            return Ok(None);
        };
        let (piece, next) = sending.piece(source, false).await.inspect_err(|error| {
            tracing::error!(%error, "a list was cut off");
        })?;
        Ok::<_, RecordError>(Some((piece, (sending, next))))
    });
    let all = once(std::future::ready(Ok(first))).chain(rest);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok((headers, Body::from_stream(all)).into_response())
}

/// Where the rest of a list comes from.
enum Source {
    /// Everything after a name.
    All(String),
    /// Whatever has a fitting name or time, after a name.
    Scan(String, Filter),
    /// So many after the first ones.
    Page(u64, u32),
    /// These names.
    Names(VecDeque<String>),
}

async fn source<T: Item>(
    records: &Records<T>,
    place: &Place,
    filter: Option<Filter>,
) -> Result<Source, RecordError> {
    Ok(match filter {
        None => Source::All(String::new()),
        Some(Filter::In(mut names)) => {
            names.sort_unstable();
            names.dedup();
            Source::Names(names.into())
        }
        Some(Filter::Label { key, values }) => {
            Source::Names(records.labelled(place, &key, &values).await?.into())
        }
        Some(filter) => Source::Scan(String::new(), filter),
    })
}

struct Sending<T> {
    records: Records<T>,
    place: Place,
    metadata: Metadata,
    names_only: bool,
}

impl<T: Item> Sending<T> {
    /// One piece of the list, and where the next one comes from; the last piece closes the array.
    async fn piece(&self, source: Source, first: bool) -> Result<(Bytes, Option<Source>), RecordError> {
        let mut piece = if first { vec![b'['] } else { Vec::new() };
        let mut source = Some(source);
        let mut empty = true;
        // What a filter lets nothing through of is no piece: the next one may have something.
        while let Some(current) = source.take() {
            let (values, next) = self.values(current).await?;
            source = next;
            for value in values {
                // A comma goes before everything but the very first thing; the caller has sent nothing before the first.
                if !(first && empty) {
                    piece.push(b',');
                }
                empty = false;
                piece.extend_from_slice(&value);
            }
            if !empty {
                break;
            }
        }
        if source.is_none() {
            piece.push(b']');
        }
        Ok((piece.into(), source))
    }

    /// Some of the list, written, and where the rest comes from.
    async fn values(&self, source: Source) -> Result<(Vec<Vec<u8>>, Option<Source>), RecordError> {
        let (found, next) = match source {
            Source::All(after) => {
                let found = self.records.page(&self.place, &after, PAGE).await?;
                let full = found.len() == PAGE as usize;
                let last = found.last().map(|record| record.value.name().to_owned());
                (
                    found.into_iter().map(Arc::new).collect(),
                    last.filter(|_| full).map(Source::All),
                )
            }
            Source::Page(offset, left) => {
                let limit = left.min(PAGE);
                let found = self.records.offset(&self.place, offset, limit).await?;
                let more = found.len() == limit as usize && left > limit;
                let next = more.then(|| Source::Page(offset + u64::from(limit), left - limit));
                (found.into_iter().map(Arc::new).collect(), next)
            }
            Source::Names(mut names) => {
                let rest = names.split_off(names.len().min(PAGE as usize));
                let next = Some(rest).filter(|rest| !rest.is_empty()).map(Source::Names);
                (self.named(names).await?, next)
            }
            Source::Scan(after, filter) => {
                let limit = if self.names_only { HEADS } else { PAGE };
                let heads = self.records.heads(&self.place, &after, limit).await?;
                let full = heads.len() == limit as usize;
                let last = heads.last().map(|head| head.name.clone()).filter(|_| full);
                let fitting = heads
                    .into_iter()
                    .filter(|head| fits(head, &filter))
                    .map(|head| head.name);
                if self.names_only {
                    let names = fitting.map(|name| json!({ "Name": name }).to_string().into_bytes());
                    return Ok((names.collect(), last.map(|last| Source::Scan(last, filter))));
                }
                let names = fitting.collect();
                (
                    self.named(names).await?,
                    last.map(|last| Source::Scan(last, filter)),
                )
            }
        };
        let mut values = Vec::with_capacity(found.len());
        for record in found {
            values.push(written(&self.records, &self.place, &record, self.metadata).await?);
        }
        Ok((values, next))
    }

    /// Those of the names that there are.
    async fn named(&self, names: VecDeque<String>) -> Result<Vec<Arc<Record<T>>>, RecordError> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.extend(self.records.get(&self.place, &name).await?);
        }
        Ok(found)
    }
}

fn fits(head: &HeadRow, filter: &Filter) -> bool {
    match filter {
        Filter::StartsWith(start) => head.name.starts_with(start),
        Filter::EndsWith(end) => head.name.ends_with(end),
        Filter::ModifiedWithin(millis) => head.modified_ms >= now_ms().saturating_sub(*millis),
        // These lead to names, not through all things.
        Filter::In(names) => names.contains(&head.name),
        Filter::Label { .. } => false,
    }
}

/// The headers that lead from this page to the others.
fn page_headers(page: Page, path: &str, entities: u64) -> HeaderMap {
    let counts = [
        (page.page_count, "page-count", page.pages(entities)),
        (page.entity_count, "entity-count", entities),
    ];
    let mut headers: HeaderMap = counts
        .into_iter()
        .filter(|(asked, ..)| *asked)
        .map(|(_, name, count)| (HeaderName::from_static(name), HeaderValue::from(count)))
        .collect();
    // Made of digits and a path of ours, which every header may have.
    let link = page
        .link(path, entities)
        .and_then(|link| HeaderValue::from_str(&link).ok());
    headers.extend(link.map(|link| (LINK, link)));
    headers
}

async fn written<T: Item>(
    records: &Records<T>,
    place: &Place,
    record: &Record<T>,
    metadata: Metadata,
) -> Result<Vec<u8>, RecordError> {
    let shown = Configuration {
        properties: record.value.properties(),
        metadata: metadata_of(records, place, record, metadata).await?,
    };
    // Writing texts into memory cannot fail.
    Ok(serde_json::to_vec(&shown).unwrap_or_default())
}

/// `$metadata` with what is asked for; nothing when nothing is.
async fn metadata_of<T: Item>(
    records: &Records<T>,
    place: &Place,
    record: &Record<T>,
    asked: Metadata,
) -> Result<Option<Value>, RecordError> {
    let mut metadata = Map::new();
    if asked.modification_time {
        metadata.insert(
            "modification_time".to_owned(),
            record.modified_ms.to_string().into(),
        );
    }
    if asked.etag {
        metadata.insert("etag".to_owned(), record.etag.as_str().into());
    }
    if asked.labels {
        let labels = records.labels(place, record.value.name()).await?;
        metadata.insert("labels".to_owned(), json!(labels));
    }
    if asked.shared {
        // There is no shared zone here: what an instance has for a subscriber is its own.
        metadata.insert("shared_with_subscriber".to_owned(), false.into());
    }
    Ok(Some(metadata)
        .filter(|metadata| !metadata.is_empty())
        .map(Value::Object))
}
