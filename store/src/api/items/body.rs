//! What a client sends: one thing, or an array of them of bounded length.

use axum::body::{Body, Bytes};
use http::Request;
use serde::Deserializer as _;
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};

use super::Item;
use crate::api::body::read_body;
use crate::api::error::ApiError;
use crate::app::App;
use crate::auth::Caller;

/// What was sent.
pub(super) enum Given<S> {
    One(S),
    Many(Vec<S>),
}

/// Reads a body of one or several `S`, which are of `T`.
pub(super) async fn given<T: Item, S: DeserializeOwned>(
    app: &App,
    caller: &Caller,
    request: Request<Body>,
) -> Result<Given<S>, ApiError> {
    let body = received(app, caller, request).await?;
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let unreadable = |error: serde_json::Error| {
        let word = T::WORD;
        ApiError::bad_request(format!(
            "The body is no {word} or array of {word}s in JSON: {error}"
        ))
    };
    if first != Some(&b'[') {
        return serde_json::from_slice(&body).map(Given::One).map_err(unreadable);
    }
    let limit = app.limits.max_batch;
    match array(&body, limit).map_err(unreadable)? {
        Some(things) if !things.is_empty() => Ok(Given::Many(things)),
        read => {
            let found = if read.is_some() { "no" } else { "too many" };
            let message = format!("The array has {found} {}s; send 1 to {limit} at a time", T::WORD);
            Err(ApiError::bad_request(message))
        }
    }
}

/// The bytes of a body. Bodies may come slowly, while their request counts: one tenant's must not stop the others.
pub(super) async fn received(app: &App, caller: &Caller, request: Request<Body>) -> Result<Bytes, ApiError> {
    let share = app.uploads.take(&caller.subaccount_id);
    let _share = share.ok_or_else(ApiError::too_many_uploads)?;
    read_body(request.into_body(), app.limits.max_body, app.limits.receive).await
}

/// Reads an array of at most `limit` things; `None` when it has more, which are not read. A mistake is told with the
/// number of the thing it is in, from 0.
fn array<S: DeserializeOwned>(body: &[u8], limit: usize) -> Result<Option<Vec<S>>, serde_json::Error> {
    struct Upto<'a, S> {
        limit: usize,
        exceeded: &'a mut bool,
        read: std::marker::PhantomData<S>,
    }
    impl<'de, S: DeserializeOwned> Visitor<'de> for Upto<'_, S> {
        type Value = Vec<S>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut things = Vec::new();
            loop {
                let next = sequence.next_element();
                let next =
                    next.map_err(|error| A::Error::custom(format_args!("[{}]: {error}", things.len())))?;
                let Some(thing) = next else {
                    return Ok(things);
                };
                if things.len() == self.limit {
                    *self.exceeded = true;
                    return Err(A::Error::custom("too many"));
                }
                things.push(thing);
            }
        }
    }
    let mut exceeded = false;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let reading = Upto {
        limit,
        exceeded: &mut exceeded,
        read: std::marker::PhantomData,
    };
    let read = deserializer
        .deserialize_seq(reading)
        .and_then(|things| deserializer.end().map(|()| things));
    if exceeded {
        return Ok(None);
    }
    read.map(Some)
}

#[cfg(test)]
mod tests {
    use landbridge_destination::DestinationConfig;

    use super::*;

    #[test]
    fn arrays_are_read_up_to_the_limit() {
        let count = |body: &str| {
            let read = array::<DestinationConfig>(body.as_bytes(), 2).map_err(|error| error.to_string());
            read.map(|things| things.map(|things| things.len()))
        };
        assert_eq!(count("[]"), Ok(Some(0)));
        assert_eq!(count(r#"[{"Name":"a"}, {"Name":"b"}] "#), Ok(Some(2)));
        assert_eq!(count("[{},{},{}]"), Ok(None));
        // What comes after the limit is not looked at.
        assert_eq!(count("[{},{},{},rubbish"), Ok(None));
        for broken in ["[{},", "[{}] x", "[1]", r#"[{"a":[0,0"#] {
            assert!(count(broken).is_err(), "{broken}");
        }
        assert!(
            count(r#"[{},{"a":[0]}]"#)
                .unwrap_err()
                .starts_with("[1]: property \"a\"")
        );
    }
}
