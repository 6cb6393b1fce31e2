//! Keeps one connection honest: pings, round-trip times, the verdict that a link is dead, the window control.

use std::sync::Arc;
use std::time::Duration;

use ::h2::{Ping, PingPong};
use std::future::poll_fn;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ConnectionStats;
use super::settings::{PING_INTERVAL, PING_MISSES, PONG_LIMIT};
use super::window::WindowControl;

/// How often the keeper looks.
const TICK: Duration = Duration::from_secs(1);

/// Time between two looks beyond which the keeper itself was held up.
const LATE: Duration = Duration::from_secs(2);

/// What the keeper asks of the task that owns the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Command {
    /// Use this receive window for all streams.
    Window(u32),
    /// Send GOAWAY and let the open streams finish.
    Drain,
    /// See whether the peer has sent GOAWAY.
    Look,
}

/// Somebody who waits for a round trip.
pub(super) type PingRequest = oneshot::Sender<Duration>;

/// Whether a link is alive: pure, fed with the time and the bytes received so far.
#[derive(Debug)]
struct Liveness {
    pinged: Option<Instant>,
    /// The same without the time in which nobody looked.
    waiting_since: Option<Instant>,
    last_pong: Instant,
    last_sign: Instant,
    last_look: Instant,
    bytes: u64,
}

#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    Fine,
    Ping,
    Dead,
}

impl Liveness {
    fn new(now: Instant) -> Self {
        Self {
            pinged: None,
            waiting_since: None,
            last_pong: now,
            last_sign: now,
            last_look: now,
            bytes: 0,
        }
    }

    /// Any received byte is a sign of life: behind seconds of queued data a pong is late, not lost.
    ///
    /// Time in which this process did not look (it was stopped, or starved) says nothing about the peer and is not
    /// counted: bytes that came meanwhile may still be unread.
    fn look(&mut self, now: Instant, bytes: u64, first: bool) -> Verdict {
        let paused = now.duration_since(self.last_look).saturating_sub(LATE);
        self.last_look = now;
        self.last_sign += paused;
        if let Some(sent) = &mut self.waiting_since {
            *sent += paused;
        }
        if bytes != self.bytes {
            self.bytes = bytes;
            self.last_sign = now;
        }
        match self.waiting_since {
            Some(sent) => {
                let silent = now.duration_since(self.last_sign.max(sent)) >= PING_INTERVAL * PING_MISSES;
                if silent || now.duration_since(sent) >= PONG_LIMIT {
                    Verdict::Dead
                } else {
                    Verdict::Fine
                }
            }
            None if first || now.duration_since(self.last_pong) >= PING_INTERVAL => {
                (self.pinged, self.waiting_since) = (Some(now), Some(now));
                Verdict::Ping
            }
            None => Verdict::Fine,
        }
    }

    fn pong(&mut self, now: Instant) -> Option<Duration> {
        self.last_pong = now;
        self.last_sign = now;
        self.waiting_since = None;
        self.pinged.take().map(|sent| now.duration_since(sent))
    }
}

/// The smallest of the last round trips: those under load include time spent in queues.
#[derive(Debug, Default)]
struct BestRtt {
    samples: [Option<Duration>; 8],
    next: usize,
}

impl BestRtt {
    fn add(&mut self, rtt: Duration) {
        self.samples[self.next] = Some(rtt);
        self.next = (self.next + 1) % self.samples.len();
    }

    fn best(&self) -> Option<Duration> {
        self.samples.iter().flatten().min().copied()
    }
}

pub(super) struct Keeper {
    pub(super) ping: PingPong,
    pub(super) stats: Arc<ConnectionStats>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) requests: mpsc::Receiver<PingRequest>,
}

impl Keeper {
    /// Runs until the link is dead; returns what it noticed. The caller drops it when the connection ends.
    pub(super) async fn run(mut self) -> String {
        let mut liveness = Liveness::new(Instant::now());
        let mut windows = WindowControl::new();
        let mut rtts = BestRtt::default();
        // Bounded by the capacity of `requests` plus one, since it is only filled up to that.
        let mut waiting: Vec<PingRequest> = Vec::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last_bytes, mut last_tick) = (self.stats.bytes_in(), Instant::now());
        loop {
            let pinged = liveness.pinged.is_some();
            tokio::select! {
                pong = poll_fn(|cx| self.ping.poll_pong(cx)), if pinged => {
                    if pong.is_err() {
                        return "the connection was closed".to_owned();
                    }
                    if let Some(rtt) = liveness.pong(Instant::now()) {
                        self.stats.set_rtt(rtt);
                        rtts.add(rtt);
                        for waiter in waiting.drain(..) {
                            let _ = waiter.send(rtt);
                        }
                    }
                }
                Some(waiter) = self.requests.recv(), if waiting.len() < 8 => {
                    waiting.push(waiter);
                    if !pinged { self.look(&mut liveness, true); }
                }
                now = ticks.tick() => {
                    let bytes = self.stats.bytes_in();
                    if let Some(rtt) = rtts.best() {
                        let (delta, elapsed) = (bytes - last_bytes, now.duration_since(last_tick));
                        self.adjust(windows.tick(delta, elapsed, rtt, self.stats.active()));
                    }
                    (last_bytes, last_tick) = (bytes, now);
                    let _ = self.commands.try_send(Command::Look);
                    if self.look(&mut liveness, rtts.best().is_none()) == Verdict::Dead {
                        return format!("no sign of life for {:?}", PING_INTERVAL * PING_MISSES);
                    }
                }
            }
        }
    }

    fn look(&mut self, liveness: &mut Liveness, first: bool) -> Verdict {
        let verdict = liveness.look(Instant::now(), self.stats.bytes_in(), first);
        if verdict == Verdict::Ping && self.ping.send_ping(Ping::opaque()).is_err() {
            // The connection is closing; its task will say why.
            return Verdict::Fine;
        }
        verdict
    }

    fn adjust(&self, window: Option<u32>) {
        let Some(window) = window else { return };
        // A full queue means that the connection task is behind; the next tick comes soon.
        if self.commands.try_send(Command::Window(window)).is_ok() {
            self.stats.set_window(window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_link_is_dead_within_fifteen_seconds() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        assert_eq!(liveness.look(start, 10, true), Verdict::Ping);
        assert_eq!(
            liveness.pong(start + Duration::from_millis(3)),
            Some(Duration::from_millis(3))
        );
        // The link dies right after the pong.
        let died = (1..=15)
            .find(|second| liveness.look(start + Duration::from_secs(*second), 10, false) == Verdict::Dead);
        assert!(died.is_some_and(|second| second > 5), "{died:?}");
    }

    #[test]
    fn a_pause_of_this_process_is_not_the_silence_of_the_peer() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut liveness = Liveness::new(start);
        assert_eq!(liveness.look(start, 10, true), Verdict::Ping);
        // Stopped for ten minutes right after the ping.
        let later = start + Duration::from_secs(600);
        assert_eq!(liveness.look(later, 10, false), Verdict::Fine);
        assert_eq!(liveness.look(later + second, 10, false), Verdict::Fine);
        // If the peer really is gone, that is noticed as usual from then on.
        let dead = (1..=15).find(|after| liveness.look(later + second * *after, 10, false) == Verdict::Dead);
        assert!(dead.is_some_and(|after| after > 3), "{dead:?}");
    }

    #[test]
    fn a_busy_link_may_answer_late_but_not_never() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        assert_eq!(liveness.look(start, 0, true), Verdict::Ping);
        let dead = (1..100).find(|second| {
            liveness.look(start + Duration::from_secs(*second), *second, false) == Verdict::Dead
        });
        assert_eq!(dead, Some(PONG_LIMIT.as_secs()));
    }
}
