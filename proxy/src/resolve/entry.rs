//! What is kept for one query.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use landbridge_runtime::bucket::Bucket;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::cache::Times;
use crate::failure::{Failure, Kind};
use crate::resolved::Resolved;

/// What is known for one query.
pub(super) struct Entry {
    pub(super) answer: ArcSwapOption<Answer>,
    /// Grows when the store says that the destination has changed; an answer asked for before is out of date.
    pub(super) generation: AtomicU64,
    /// When it was last heard that the destination has changed.
    pub(super) changed: Mutex<Option<Instant>>,
    /// Held while the source is asked, and whenever `answer` is replaced: whoever waits here shares the answer.
    pub(super) flight: Arc<tokio::sync::Mutex<()>>,
    /// A task renews the answer in the background.
    pub(super) refreshing: AtomicBool,
    pub(super) renewals: Mutex<Bucket>,
    /// Questions because somebody wants a younger answer than there is.
    pub(super) younger: Mutex<Bucket>,
}

pub(super) struct Answer {
    pub(super) result: Result<Arc<Resolved>, Failure>,
    pub(super) times: Times,
    /// When the store was asked.
    pub(super) asked: Instant,
    pub(super) received: Instant,
    /// The entry's generation when it was asked for.
    pub(super) generation: u64,
    /// Certificates of the store that it depends on.
    pub(super) certificates: Vec<String>,
}

impl Answer {
    /// Whether it is the last word on the destination: then an older answer is not used on.
    pub(super) fn is_definite(&self) -> bool {
        match &self.result {
            Ok(_) => true,
            Err(failure) => matches!(
                failure.kind,
                Kind::DestinationNotFound
                    | Kind::DestinationUnusable
                    | Kind::CallerForbidden
                    | Kind::CarriedByGateway
            ),
        }
    }
}

impl Entry {
    /// Nothing is known yet. `changed` is when something has changed that this may be about.
    pub(super) fn new(changed: Option<Instant>) -> Self {
        Self {
            answer: ArcSwapOption::default(),
            generation: AtomicU64::default(),
            changed: Mutex::new(changed),
            flight: Arc::default(),
            refreshing: AtomicBool::default(),
            // A target that answers 401 whatever it gets must not become a flood at the token service.
            renewals: Mutex::new(Bucket::new(5, Duration::from_secs(30))),
            // Nor sidecars that hear of many changes one at the store.
            younger: Mutex::new(Bucket::new(10, Duration::from_secs(1))),
        }
    }

    /// The answer, if it may be used at `now`, or came after `now`: then it was asked for on behalf of everybody who
    /// was waiting, even if its token is too short-lived to be kept. One that is out of date is used until there is
    /// another; a failure is not.
    pub(super) fn usable(&self, now: Instant) -> Option<Arc<Answer>> {
        self.answer.load_full().filter(|answer| {
            let current = self.is_current(answer);
            (now < answer.times.expire && (current || answer.result.is_ok()))
                || (answer.received >= now && current)
        })
    }

    /// Whether the destination has not changed since `answer` was asked for.
    pub(super) fn is_current(&self, answer: &Answer) -> bool {
        answer.generation == self.generation.load(Ordering::Acquire)
    }

    /// The destination has changed.
    pub(super) fn outdate(&self, now: Instant) {
        *self.changed.lock() = Some(now);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}
