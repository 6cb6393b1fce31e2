//! Connections for service channels: kept up like the others, and used to open streams toward the cluster.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::backoff::{HEALTHY, delay};
use super::link::Slot;
use super::{ConnectError, ConnectionState, Shared};
use crate::channel::exchange;
use crate::channel::{ChannelError, ChannelName, ChannelRequest, Offered};
use crate::hello::{HelloError, UNSUPPORTED_KIND};
use crate::mux::h2::{Ended, OpenerMux, opener};
use crate::mux::settings::OPEN_DEADLINE;
use crate::mux::{ConnectionStats, Mux};
use crate::open::{DenyReason, OpenError};
use crate::stream::TunnelStream;

/// Connections tried for one open that have no room.
const ATTEMPTS: usize = 3;
/// How often a connection that is being replaced is looked at, whether its streams have ended.
const DRAIN_STEP: Duration = Duration::from_millis(250);
/// Pause after an acceptor has said that it serves no service channels: it has to be set up differently first.
const UNSUPPORTED_PAUSE: Duration = Duration::from_secs(300);

/// Opens service channels toward the cluster. Clones share the connections.
#[derive(Clone)]
pub struct Channels {
    inner: Arc<Inner>,
}

struct Inner {
    /// Established ones; those that are being replaced come after and are used when there is no other.
    sessions: Mutex<Vec<Arc<OpenerMux>>>,
    changed: watch::Sender<u64>,
    /// What the cluster offers; `None` before anything was heard.
    offered: watch::Sender<Option<Arc<Vec<Offered>>>>,
    held: watch::Sender<Arc<Vec<ChannelName>>>,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.inner.sessions.lock().len();
        f.debug_struct("Channels").field("sessions", &sessions).finish()
    }
}

impl Channels {
    pub(super) fn new(connections: usize) -> Self {
        let inner = Inner {
            sessions: Mutex::new(Vec::with_capacity(connections)),
            changed: watch::Sender::new(0),
            offered: watch::Sender::new(None),
            held: watch::Sender::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What the cluster offers, now and whenever it changes; `None` before anything was heard. Stays what it was while
    /// there is no connection.
    pub fn offered(&self) -> watch::Receiver<Option<Arc<Vec<Offered>>>> {
        self.inner.offered.subscribe()
    }

    /// Tells the cluster which channels are held open for clients, in place of what was told before.
    pub fn hold(&self, channels: Vec<ChannelName>) {
        self.inner.held.send_if_modified(|held| {
            let changed = **held != channels;
            if changed {
                *held = Arc::new(channels);
            }
            changed
        });
    }

    /// Opens one stream over the less busy of two connections taken by chance. Waits for a connection as long as the
    /// request's deadline allows, so that a client does not notice that a proxy is restarted. A connection that is lost
    /// meanwhile is one that nobody was answered on: whatever the peer had begun for the stream ended with it, and no
    /// byte of the client was sent, so the next one is tried.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn open(&self, request: &ChannelRequest) -> Result<TunnelStream, ChannelError> {
        let until = Instant::now() + request.deadline().unwrap_or(OPEN_DEADLINE);
        let mut changed = self.inner.changed.subscribe();
        let mut tried: Vec<Arc<OpenerMux>> = Vec::new();
        let mut last = ChannelError::NotConnected;
        let mut full = 0;
        while full < ATTEMPTS {
            changed.mark_unchanged();
            let Some(mux) = self.choose(&tried) else {
                if matches!(last, ChannelError::Busy { .. } | ChannelError::Refused { .. }) {
                    return Err(last);
                }
                match timeout_at(until, changed.changed()).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(_)) | Err(_) => return Err(last),
                }
            };
            let Ok(opened) = timeout_at(until, mux.open(request)).await else {
                return Err(ChannelError::Timeout {
                    after: request.deadline().unwrap_or(OPEN_DEADLINE),
                });
            };
            match opened {
                Err(error @ OpenError::Lost { .. }) => {
                    last = error.into();
                    tried.push(mux);
                }
                Err(
                    error @ (OpenError::Busy { .. }
                    | OpenError::Denied {
                        reason: DenyReason::Busy,
                        ..
                    }),
                ) => {
                    full += 1;
                    last = error.into();
                    tried.push(mux);
                }
                result => return result.map_err(Into::into),
            }
        }
        Err(last)
    }

    /// Power of two choices among those that stay; one that is being replaced is better than none.
    fn choose(&self, tried: &[Arc<OpenerMux>]) -> Option<Arc<OpenerMux>> {
        let sessions = self.inner.sessions.lock();
        let fresh = |mux: &&Arc<OpenerMux>| !tried.iter().any(|other| Arc::ptr_eq(other, mux));
        let staying: Vec<_> = sessions
            .iter()
            .filter(|mux| fresh(mux) && !mux.stats().is_leaving())
            .collect();
        match staying.as_slice() {
            [] => sessions.iter().find(fresh).cloned(),
            [only] => Some(Arc::clone(only)),
            several => {
                let first = fastrand::usize(..several.len());
                let second = (first + fastrand::usize(1..several.len())) % several.len();
                let (a, b) = (several[first], several[second]);
                Some(Arc::clone(if b.stats().active() < a.stats().active() {
                    b
                } else {
                    a
                }))
            }
        }
    }

    fn add(&self, mux: Arc<OpenerMux>) {
        self.inner.sessions.lock().push(mux);
        self.inner.changed.send_modify(|revision| *revision += 1);
    }

    fn remove(&self, mux: &Arc<OpenerMux>) {
        self.inner
            .sessions
            .lock()
            .retain(|other| !Arc::ptr_eq(other, mux));
        self.inner.changed.send_modify(|revision| *revision += 1);
    }

    fn heard(&self, channels: Vec<Offered>) {
        self.inner.offered.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&channels);
            if changed {
                *known = Some(Arc::new(channels));
            }
            changed
        });
    }
}

/// A connection in use.
struct Running {
    mux: Arc<OpenerMux>,
    driver: JoinHandle<Ended>,
    since: Instant,
}

/// Keeps slot number `slot` connected until draining is asked.
pub(super) async fn keep(shared: Arc<Shared>, slot: u16, shutdown: Shutdown) {
    let place = Slot::Outbound(slot);
    let (mut failures, mut unsupported) = (0, 0);
    // The connection that the acceptor asked to replace; it goes on until its successor is there.
    let mut leaving: Option<Running> = None;
    loop {
        shared.set(place, ConnectionState::Connecting { failures });
        let connected = tokio::select! {
            () = shutdown.started() => break,
            connected = establish(&shared, place, failures, &shutdown) => connected,
        };
        let reason = match connected {
            Ok((running, replica)) => {
                shared.established(place, replica);
                if let Some(old) = leaving.take() {
                    retire(&shared, old, &shutdown);
                }
                match watch(&shared, running, &shutdown).await {
                    Watched::Replace(old) => {
                        tracing::info!(
                            slot,
                            "the acceptor is leaving; connecting to another one for service channels"
                        );
                        (failures, leaving) = (0, Some(old));
                        tokio::select! {
                            () = shutdown.started() => break,
                            () = sleep(delay(0, fastrand::f64())) => {}
                        }
                        continue;
                    }
                    Watched::Stopped => break,
                    Watched::Lost { cause, healthy } => {
                        if healthy {
                            failures = 0;
                        }
                        shared.config.metrics.sessions_lost.inc();
                        format!("the connection was lost: {cause}")
                    }
                }
            }
            Err(ConnectError::Hello(HelloError::Refused { reason, message }))
                if reason == UNSUPPORTED_KIND =>
            {
                unsupported += 1;
                if !wait_for_support(&shared, place, unsupported, message, &shutdown).await {
                    break;
                }
                continue;
            }
            Err(error) => shared.failed(&error),
        };
        failures += 1;
        if !shared.pause(place, failures, reason, &shutdown).await {
            break;
        }
    }
    if let Some(old) = leaving.take() {
        retire(&shared, old, &shutdown);
    }
    shared.set(place, ConnectionState::Stopped);
}

async fn establish(
    shared: &Shared,
    place: Slot,
    failures: u32,
    shutdown: &Shutdown,
) -> Result<(Running, String), ConnectError> {
    let (tls, stats, replica) = shared.connect(place, failures).await?;
    let stats: Arc<ConnectionStats> = stats;
    let (mux, driver) = opener(tls, stats).await.map_err(ConnectError::Mux)?;
    let running = Running {
        mux: Arc::new(mux),
        driver: shutdown.spawn(driver),
        since: Instant::now(),
    };
    Ok((running, replica))
}

enum Watched {
    Replace(Running),
    Lost { cause: String, healthy: bool },
    Stopped,
}

/// Offers a connection for use until it ends or is to be replaced.
async fn watch(shared: &Shared, mut running: Running, shutdown: &Shutdown) -> Watched {
    let channels = &shared.outbound;
    channels.add(Arc::clone(&running.mux));
    let mut held = channels.inner.held.subscribe();
    let talk = async {
        let stream = running
            .mux
            .open_exchange()
            .await
            .map_err(|error| error.to_string())?;
        let heard = |offered| channels.heard(offered);
        let talked = exchange::follow(stream, &mut held, heard).await;
        talked.map_err(|error| format!("the exchange about service channels broke: {error}"))
    };
    let cause = tokio::select! {
        () = shutdown.started() => {
            finish(channels, running, shutdown).await;
            return Watched::Stopped;
        }
        ended = &mut running.driver => ended.map_or_else(|_| "its task failed".to_owned(), |ended| ended.cause),
        talked = talk => match talked {
            Ok(()) => {
                running.mux.stats().set_leaving();
                return Watched::Replace(running);
            }
            Err(cause) => cause,
        },
    };
    running.mux.close(&cause);
    channels.remove(&running.mux);
    let healthy = running.since.elapsed() >= HEALTHY;
    Watched::Lost { cause, healthy }
}

/// Lets the streams of a connection end, in a task of its own, and closes it then.
fn retire(shared: &Arc<Shared>, old: Running, shutdown: &Shutdown) {
    let (channels, inner) = (shared.outbound.clone(), shutdown.clone());
    shutdown.spawn(async move { finish(&channels, old, &inner).await });
}

async fn finish(channels: &Channels, mut old: Running, shutdown: &Shutdown) {
    channels.remove(&old.mux);
    let idle = async {
        // Twice in a row: an open may have chosen it a moment ago.
        let mut idle = 0;
        while idle < 2 {
            sleep(DRAIN_STEP).await;
            idle = if old.mux.stats().active() == 0 {
                idle + 1
            } else {
                0
            };
        }
    };
    tokio::select! {
        () = idle => {}
        _ = &mut old.driver => return,
        () = shutdown.forced() => {}
    }
    old.mux.close("replaced, or stopping");
    // Bounded by the close: the driver only drops the connection.
    let _ = old.driver.await;
}

/// An acceptor without service channels is no failure of this side; what else runs over the tunnel is not affected.
async fn wait_for_support(
    shared: &Shared,
    place: Slot,
    times: u32,
    message: String,
    shutdown: &Shutdown,
) -> bool {
    // Said once: it stays so until somebody sets it up differently.
    if times == 1 {
        tracing::info!(message, retry_in = ?UNSUPPORTED_PAUSE, "the cluster side serves no service channels");
    }
    shared.set(
        place,
        ConnectionState::Waiting {
            reason: message,
            retry_in: UNSUPPORTED_PAUSE,
            failures: 0,
        },
    );
    tokio::select! {
        () = shutdown.started() => false,
        () = sleep(UNSUPPORTED_PAUSE.mul_f64(0.75 + fastrand::f64() / 4.0)) => true,
    }
}
