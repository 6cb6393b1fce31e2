//! The exchange about service channels: `POST /landbridge/channels`, one per outbound connection, open as long as the
//! connection is. Both bodies are lines of JSON, each with a `type`; lines of other types are ignored, so that a later
//! version can say more.
//!
//! | From | Line | Meaning |
//! |---|---|---|
//! | acceptor | `{"type":"offered","channels":[{"kind":"TCP","id":"web","local":{"port":8080,"connections":1,"enabled":true}}]}` | everything that this connector may open, in place of what was said before |
//! | acceptor | `{"type":"leaving"}` | the acceptor stops: connect to another one, and end this connection when its streams have |
//! | connector | `{"type":"held","channels":[{"kind":"TCP","id":"web"}]}` | the channels that clients of the company can use through it, in place of what was said before |
//!
//! Only the latest counts, so nothing is ever queued: each side writes what is true when there is room.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec};
use tokio_util::sync::CancellationToken;

use super::handler::{ChannelHandler, ChannelPeer};
use super::{ChannelName, Offered};
use crate::stream::TunnelStream;

/// Channels that are offered to one connector, at most. Those beyond are still opened when they are asked for by name.
pub const MAX_OFFERED: usize = 4096;
/// Channels that one connector holds, at most: each has a port, and the acceptor remembers them for every connection.
pub const MAX_HELD: usize = 1024;
/// Longest line in bytes: [`MAX_OFFERED`] with ids of usual length; a long id costs 253 of them.
pub const MAX_LINE: usize = 2 << 20;
/// A peer that does not take a line within this time is not alive in any useful sense.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// Pause after each line, so that a peer cannot keep this side busy with them.
const PAUSE: Duration = Duration::from_millis(100);

/// What the acceptor says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(crate) enum FromAcceptor {
    /// The channels that may be opened.
    Offered {
        /// All of them.
        channels: Vec<Offered>,
    },
    /// This connection is to be replaced.
    Leaving,
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// What the connector says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(crate) enum FromConnector {
    /// The channels that it listens for.
    Held {
        /// All of them.
        channels: Vec<ChannelName>,
    },
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

fn codec() -> LinesCodec {
    LinesCodec::new_with_max_length(MAX_LINE)
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

async fn write<W, T>(sink: &mut FramedWrite<W, LinesCodec>, message: &T) -> io::Result<()>
where
    W: tokio::io::AsyncWrite + Unpin,
    T: Serialize,
{
    let line = serde_json::to_string(message).map_err(io::Error::other)?;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the peer did not read within 30 s");
    timeout(WRITE_DEADLINE, sink.send(line))
        .await
        .map_err(late)?
        .map_err(io::Error::other)
}

/// The next line; `None` at the end.
async fn read<R, T>(lines: &mut FramedRead<R, LinesCodec>) -> io::Result<Option<T>>
where
    R: tokio::io::AsyncRead + Unpin,
    T: for<'a> Deserialize<'a>,
{
    match lines.next().await {
        None => Ok(None),
        Some(line) => serde_json::from_str(&line.map_err(invalid)?)
            .map(Some)
            .map_err(invalid),
    }
}

/// Cuts a list to so many, and to what fits into one line.
fn bounded<T: Serialize>(mut channels: Vec<T>, most: usize, what: &str) -> Vec<T> {
    // What is around the list has under 100 bytes.
    let (mut room, mut count) = (MAX_LINE - 1024, 0);
    for channel in channels.iter().take(most) {
        let length = serde_json::to_vec(channel).map_or(usize::MAX, |text| text.len() + 1);
        if length > room {
            break;
        }
        (room, count) = (room - length, count + 1);
    }
    if count < channels.len() {
        tracing::warn!(
            told = count,
            of = channels.len(),
            "too many service channels to tell the other side of all that are {what}"
        );
        channels.truncate(count);
    }
    channels
}

/// The acceptor's side. Ends when the peer ends it, or with an error.
pub(crate) async fn serve(
    stream: TunnelStream,
    handler: &Arc<dyn ChannelHandler>,
    peer: &ChannelPeer,
    leaving: CancellationToken,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let mut lines = FramedRead::new(reader, codec());
    let mut sink = FramedWrite::new(writer, codec());
    let reading = async {
        while let Some(message) = read::<_, FromConnector>(&mut lines).await? {
            if let FromConnector::Held { channels } = message {
                handler.held(peer, bounded(channels, MAX_HELD, "held"));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    };
    let writing = async {
        let mut revision = handler.revision();
        let mut told = None;
        let (mut left, mut known) = (false, true);
        loop {
            revision.mark_unchanged();
            let channels = bounded(handler.offered(peer), MAX_OFFERED, "offered");
            if told.as_ref() != Some(&channels) {
                let message = FromAcceptor::Offered { channels };
                write(&mut sink, &message).await?;
                if let FromAcceptor::Offered { channels } = message {
                    told = Some(channels);
                }
            }
            tokio::select! {
                // When whoever has the table is gone, what was told last stays true.
                changed = revision.changed(), if known => known = changed.is_ok(),
                () = leaving.cancelled(), if !left => {
                    left = true;
                    write(&mut sink, &FromAcceptor::Leaving).await?;
                }
                else => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        result = reading => result,
        result = writing => result,
    }
}

/// The connector's side: tells `held`, passes on what is offered, and ends with `Ok` when the acceptor is leaving.
pub(crate) async fn follow(
    stream: TunnelStream,
    held: &mut watch::Receiver<Arc<Vec<ChannelName>>>,
    offered: impl Fn(Vec<Offered>),
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let mut lines = FramedRead::new(reader, codec());
    let mut sink = FramedWrite::new(writer, codec());
    let reading = async {
        while let Some(message) = read::<_, FromAcceptor>(&mut lines).await? {
            match message {
                FromAcceptor::Offered { channels } => offered(bounded(channels, MAX_OFFERED, "offered")),
                FromAcceptor::Leaving => return Ok(()),
                FromAcceptor::Unknown => {}
            }
            sleep(PAUSE).await;
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    };
    let writing = async {
        loop {
            let channels = Vec::clone(&held.borrow_and_update());
            let channels = bounded(channels, MAX_HELD, "held");
            write(&mut sink, &FromConnector::Held { channels }).await?;
            if held.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        result = reading => result,
        result = writing => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_by_number_and_by_length() {
        let names = |count: usize, id: &str| -> Vec<ChannelName> {
            (0..count)
                .map(|number| ChannelName::new("TCP", &format!("{id}{number}")).unwrap())
                .collect()
        };
        assert_eq!(bounded(names(1024, "web"), MAX_HELD, "held").len(), 1024);
        assert_eq!(bounded(names(1025, "web"), MAX_HELD, "held").len(), 1024);
        // Four bytes a character: about 1000 bytes each, so that the line is full before the number is reached.
        let long = bounded(names(4096, &"\u{1F600}".repeat(245)), MAX_OFFERED, "offered");
        assert!((1500..2200).contains(&long.len()), "{}", long.len());
        let line = serde_json::to_string(&FromConnector::Held { channels: long }).unwrap();
        assert!(
            line.len() <= MAX_LINE && line.len() > MAX_LINE - 4096,
            "{}",
            line.len()
        );
    }

    #[test]
    fn what_a_later_version_says_is_passed_over() {
        let read = |text: &str| serde_json::from_str::<FromAcceptor>(text);
        assert!(matches!(
            read(r#"{"type":"later","x":[1]}"#),
            Ok(FromAcceptor::Unknown)
        ));
        assert!(matches!(read(r#"{"type":"leaving"}"#), Ok(FromAcceptor::Leaving)));
        assert!(matches!(
            read(r#"{"type":"offered","channels":[],"more":1}"#),
            Ok(FromAcceptor::Offered { .. })
        ));
        for bad in ["", "[]", "{}", r#"{"type":"offered"}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let said = serde_json::to_string(&FromConnector::Held {
            channels: vec![ChannelName::new("TCP", "web").unwrap()],
        });
        assert_eq!(
            said.unwrap(),
            r#"{"type":"held","channels":[{"kind":"TCP","id":"web"}]}"#
        );
    }
}
