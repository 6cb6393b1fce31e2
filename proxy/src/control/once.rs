//! What there is to serve, asked for once.

use std::time::Duration;

use landbridge_destination::serve::{Message, STREAM_PATH, Whole};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use tokio::time::timeout;

use super::follow::{next, parse};
use super::lines::Lines;
use super::link::Place;
use super::{ControlError, Settings};

/// The operator's first message: what the caller may see of routes and callers, as things are now. Of more than 16 MB of it
/// (some 30 000 routes) the first part.
///
/// # Errors
/// The operator cannot be reached, refuses, or has not answered within `deadline`.
pub async fn snapshot(settings: &Settings, deadline: Duration) -> Result<Whole, ControlError> {
    let asking = async {
        let dialer = Dialer::new(AddressPolicy::Any).map_err(ControlError::Resolver)?;
        let mut link = Place::new(settings, dialer).connect(None).await?;
        let mut body = link.stream(STREAM_PATH).await?;
        let mut lines = Lines::default();
        loop {
            while let Some(line) = lines.next()? {
                if let Message::Snapshot(whole) = parse(line).await? {
                    return Ok(whole);
                }
            }
            lines.push(&next(&mut body).await?);
        }
    };
    let late = |_| ControlError::Timeout(deadline.as_secs());
    timeout(deadline, asking).await.map_err(late)?
}
