//! One subscriber's stream: a line whenever there is something new, and a sign of life when there is not.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use landbridge_destination::serve::HEARTBEAT;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ServeMetrics;
use super::hub::{Cursor, Hub};
use super::server::Link;

/// How long a subscriber may leave its stream unread. It holds at most two messages meanwhile.
pub(super) const UNREAD: Duration = Duration::from_secs(60);

/// After the first of several changes the others are waited for this long, so that 10 000 new routes are not as many
/// messages to every proxy.
const GATHER: Duration = Duration::from_millis(10);

/// [`landbridge_destination::serve::Message::Alive`] as a line.
const ALIVE: Bytes = Bytes::from_static(b"{\"type\":\"alive\"}\n");

/// What a stream needs.
pub(super) struct Feed {
    pub(super) hub: Arc<Hub>,
    pub(super) cursor: Cursor,
    pub(super) until: Instant,
    pub(super) unread: Duration,
    pub(super) link: Link,
    pub(super) metrics: ServeMetrics,
}

/// The body of the answer. `held` is kept until the stream ends.
pub(super) fn body(feed: Feed, held: impl Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let link = feed.link.clone();
    link.spawn(async move {
        feed.metrics.streams.inc();
        let gauge = feed.metrics.streams.clone();
        let _open = Open(gauge);
        feed.run(sender).await;
        drop(held);
    });
    let lines = stream::unfold(receiver, |mut receiver| async {
        let line = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), receiver))
    });
    Body::from_stream(lines)
}

/// Counts down also when the task is forced to end.
struct Open(prometheus_client::metrics::gauge::Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Feed {
    async fn run(mut self, sender: mpsc::Sender<Bytes>) {
        let mut ticks = self.hub.ticks();
        loop {
            ticks.borrow_and_update();
            let told = self.hub.tell(&mut self.cursor);
            for line in told.lines {
                if !self.send(&sender, line).await {
                    return;
                }
            }
            if told.lost {
                return tracing::debug!("a stream fell too far behind; its client has to begin anew");
            }
            let quiet = sleep(HEARTBEAT);
            tokio::select! {
                changed = ticks.changed() => match changed {
                    Ok(()) => sleep(GATHER).await,
                    Err(_) => return,
                },
                () = quiet => if !self.send(&sender, ALIVE).await { return },
                () = sleep_until(self.until) => return,
                () = self.link.ending() => return,
                () = sender.closed() => return,
            }
        }
    }

    /// Whether the stream goes on.
    async fn send(&self, sender: &mpsc::Sender<Bytes>, line: Bytes) -> bool {
        let bytes = line.len() as u64;
        let sent = tokio::select! {
            sent = timeout(self.unread, sender.send(line)) => sent,
            () = self.link.ending() => return false,
        };
        match sent {
            Ok(Ok(())) => {
                self.metrics.lines.inc();
                self.metrics.bytes.inc_by(bytes);
                true
            }
            Ok(Err(_)) => false,
            Err(_) => {
                // The stream alone cannot be ended: its end would wait behind what is not read.
                tracing::warn!(peer = %self.link.peer(), "a stream is not read, closing its connection");
                self.metrics.stuck.inc();
                self.link.cut();
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use landbridge_runtime::shutdown::Shutdown;

    use super::*;
    use crate::serve::hub::Audience;

    #[tokio::test]
    async fn an_unread_stream_costs_its_connection() {
        let hub = Arc::new(Hub::new());
        hub.complete();
        let ending = Shutdown::new();
        let link = Link::new(([127, 0, 0, 1]).into(), ending.clone());
        let feed = Feed {
            cursor: hub.subscribe(Audience::All),
            hub: Arc::clone(&hub),
            until: Instant::now() + Duration::from_secs(3600),
            unread: Duration::from_millis(50),
            link: link.clone(),
            metrics: ServeMetrics::default(),
        };
        let metrics = feed.metrics.clone();
        let mut body = body(feed, ());
        // The snapshot waits to be read; what comes after it finds no room.
        let mut ports = 1..u16::MAX;
        let cut = async {
            while !link.is_cut() {
                let leader = ports.next().map(|port| ([127, 0, 0, 1], port).into());
                hub.leader(leader);
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(30), cut).await.unwrap();
        assert_eq!(metrics.stuck.get(), 1);
        assert!(body.frame().await.is_some(), "what was sent before is there");
        assert!(body.frame().await.is_none());
        let ended = async {
            while metrics.streams.get() != 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), ended).await.unwrap();
    }
}
