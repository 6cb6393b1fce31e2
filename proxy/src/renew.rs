//! Sending a request once, and once more where that is safe and helps: on a kept connection that turns out to be
//! closed, and with a new token when the target refuses ours.

use std::sync::Arc;

use http::{Response, StatusCode};
use hyper::body::{Body, Incoming};

use crate::body::{Lease, RequestBody};
use crate::carry::{self, Lost};
use crate::exchange::Shared;
use crate::failure::Failure;
use crate::outgoing::{Outgoing, Watched};
use crate::record::Record;
use crate::resolve::Query;
use crate::resolved::Resolved;

type Answer = (Response<Incoming>, Lease);

/// Sends the request and gives the head of the answer, with the destination that it was sent with in the end.
///
/// A request without a body whose method is idempotent is repeated once on a new connection when a kept one was closed
/// without an answer. When the target answers 401 to a token of ours, the token is renewed; a request without a body
/// whose method is safe (RFC 9110, section 9.2.1) is then repeated once.
///
/// # Errors
/// Which hop failed and how.
pub async fn send(
    shared: &Shared,
    query: &Arc<Query>,
    resolved: Arc<Resolved>,
    outgoing: Outgoing,
    (body, upload): Watched,
    record: &mut Record,
) -> Result<(Answer, Arc<Resolved>), Failure> {
    let safe = outgoing.method.is_safe();
    let mut spare = (body.is_end_stream() && outgoing.method.is_idempotent()).then(|| outgoing.clone());
    let request = outgoing.request(&resolved, body)?;
    let connector = &shared.connector;
    let answer = match carry::send(connector, &resolved, request, upload.as_ref(), record, false).await {
        Ok(answer) => answer,
        Err(Lost {
            failure,
            on_stale_connection,
        }) => match spare.take().filter(|_| on_stale_connection) {
            Some(again) => {
                let request = again.request(&resolved, RequestBody::Empty)?;
                carry::send(connector, &resolved, request, None, record, true)
                    .await
                    .map_err(|lost| lost.failure)?
            }
            None => return Err(failure),
        },
    };
    let refused = answer.0.status() == StatusCode::UNAUTHORIZED;
    let Some(credential) = resolved
        .credential
        .as_ref()
        .filter(|credential| refused && credential.renewable)
    else {
        return Ok((answer, resolved));
    };
    let Some(again) = spare.filter(|_| safe) else {
        shared.resolver.renew_later(query, &credential.value);
        return Ok((answer, resolved));
    };
    // Without a better token the target's own 401 is the most honest answer.
    let Some(renewed) = shared.resolver.renew(query, &credential.value).await else {
        return Ok((answer, resolved));
    };
    drop(answer);
    record.set_resolved(&renewed);
    let request = again.request(&renewed, RequestBody::Empty)?;
    let answer = carry::send(connector, &renewed, request, None, record, false)
        .await
        .map_err(|lost| lost.failure)?;
    Ok((answer, renewed))
}
