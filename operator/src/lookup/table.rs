//! Which look-ups are due. Pure but for the clock it is handed: what was learnt, when to ask again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::DestinationSelector;
use tokio::time::Instant;

use super::{Answer, Failure};
use crate::plan::{self, Lookup};

/// First pause after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause after failures, so that a store that comes back is noticed within a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Longest time until a missing destination is asked for again: who has just created it is waiting for it.
const MISSING_REFRESH: Duration = Duration::from_secs(5);

/// How often and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time after which an answer is asked for again.
    pub refresh: Duration,
    /// Most look-ups at the same time.
    pub concurrency: usize,
}

/// One look-up per different selector, however many resources share it.
#[derive(Debug)]
pub struct Table {
    timing: Timing,
    entries: HashMap<DestinationSelector, Entry>,
    /// What is waiting, by the time it is due. The number tells entries of equal time apart.
    queue: BTreeSet<(Instant, u64)>,
    by_number: HashMap<u64, DestinationSelector>,
    next_number: u64,
    running: usize,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    lookup: Lookup,
    etag: Option<String>,
    failures: u32,
    /// None while it runs.
    due: Option<Instant>,
    /// Whether to ask once more as soon as what runs has ended.
    again: bool,
}

impl Table {
    /// An empty one.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            entries: HashMap::new(),
            queue: BTreeSet::new(),
            by_number: HashMap::new(),
            next_number: 0,
            running: 0,
        }
    }

    /// Makes these the selectors that are looked up; new ones are due at once. Gateways need none.
    pub fn set(&mut self, selectors: &HashSet<DestinationSelector>, now: Instant) {
        let gone: Vec<_> = self
            .entries
            .keys()
            .filter(|known| !selectors.contains(*known))
            .cloned()
            .collect();
        for selector in gone {
            self.remove(&selector);
        }
        for selector in selectors {
            self.insert(selector, now);
        }
    }

    /// Looks this one up as well, at once. Gateways need no look-up.
    pub fn insert(&mut self, selector: &DestinationSelector, now: Instant) {
        if selector.is_gateway() || self.entries.contains_key(selector) {
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        let entry = Entry {
            number,
            lookup: Lookup::Pending,
            etag: None,
            failures: 0,
            due: Some(now),
            again: false,
        };
        self.entries.insert(selector.clone(), entry);
        self.by_number.insert(number, selector.clone());
        self.queue.insert((now, number));
    }

    /// Nobody refers to it any more.
    pub fn remove(&mut self, selector: &DestinationSelector) {
        if let Some(entry) = self.entries.remove(selector) {
            self.by_number.remove(&entry.number);
            if let Some(due) = entry.due {
                self.queue.remove(&(due, entry.number));
            }
        }
    }

    /// The store says that something changed: what `concerned` names is asked for at once. An answer that is on its
    /// way may be the old one, so it is asked for again after it.
    pub fn recall(&mut self, now: Instant, concerned: impl Fn(&DestinationSelector) -> bool) {
        for (selector, entry) in &mut self.entries {
            if !concerned(selector) {
                continue;
            }
            match entry.due.replace(now) {
                Some(due) => {
                    self.queue.remove(&(due, entry.number));
                    self.queue.insert((now, entry.number));
                }
                None => {
                    entry.due = None;
                    entry.again = true;
                }
            }
        }
    }

    /// What is known.
    pub fn get(&self, selector: &DestinationSelector) -> Lookup {
        if selector.is_gateway() {
            return Lookup::NotNeeded;
        }
        self.entries
            .get(selector)
            .map_or(Lookup::Pending, |entry| entry.lookup.clone())
    }

    /// The `ETag` of what is known.
    pub fn etag(&self, selector: &DestinationSelector) -> Option<&str> {
        self.entries.get(selector)?.etag.as_deref()
    }

    /// Takes a look-up that is due and for which there is room: its selector and the `ETag` that is known. Every one
    /// that is taken must be given back to [`finish`](Self::finish).
    pub fn take(&mut self, now: Instant) -> Option<(DestinationSelector, Option<String>)> {
        if self.running >= self.timing.concurrency {
            return None;
        }
        let (due, number) = *self.queue.first().filter(|(due, _)| *due <= now)?;
        self.queue.remove(&(due, number));
        let selector = self.by_number.get(&number)?.clone();
        let entry = self.entries.get_mut(&selector)?;
        entry.due = None;
        self.running += 1;
        Some((selector, entry.etag.clone()))
    }

    /// When the next look-up is due; none while there is nothing to wait for or no room.
    pub fn next_due(&self) -> Option<Instant> {
        let room = self.running < self.timing.concurrency;
        self.queue.first().filter(|_| room).map(|(due, _)| *due)
    }

    /// Whether every selector has been asked for at least once.
    pub fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| entry.lookup != Lookup::Pending)
    }

    /// Notes what a look-up brought; says whether that is anything new.
    pub fn finish(
        &mut self,
        selector: &DestinationSelector,
        result: Result<Answer, Failure>,
        now: Instant,
    ) -> bool {
        self.running = self.running.saturating_sub(1);
        // Nobody may refer to it any more, or refer to it anew while the old look-up still ran.
        let Some(entry) = self.entries.get_mut(selector).filter(|entry| entry.due.is_none()) else {
            return false;
        };
        let before = entry.lookup.clone();
        let pause = entry.note(result, self.timing.refresh);
        let due = if std::mem::take(&mut entry.again) {
            now
        } else {
            now + pause
        };
        entry.due = Some(due);
        self.queue.insert((due, entry.number));
        entry.lookup != before
    }
}

impl Entry {
    /// Takes the result over and returns the time until the next look-up.
    fn note(&mut self, result: Result<Answer, Failure>, refresh: Duration) -> Duration {
        let failures = std::mem::take(&mut self.failures);
        match result {
            Ok(Answer::Found { config, etag }) => {
                self.lookup = Lookup::Found(Arc::new(plan::relevant(&config)));
                self.etag = etag;
                jittered(refresh)
            }
            Ok(Answer::Unchanged) => {
                if let Lookup::Unavailable {
                    last: Some(config), ..
                } = &self.lookup
                {
                    self.lookup = Lookup::Found(config.clone());
                }
                // The answer to a question from before all who referred to it went and one came back.
                if self.lookup == Lookup::Pending {
                    return Duration::ZERO;
                }
                jittered(refresh)
            }
            Ok(Answer::NotFound(message)) => {
                self.lookup = Lookup::NotFound(message);
                self.etag = None;
                jittered(refresh.min(MISSING_REFRESH))
            }
            Ok(Answer::FragmentNotFound(message)) => {
                self.lookup = Lookup::FragmentNotFound(message);
                self.etag = None;
                jittered(refresh.min(MISSING_REFRESH))
            }
            Err(Failure(reason)) => {
                self.failures = failures.saturating_add(1);
                let last = match &self.lookup {
                    Lookup::Found(config) => Some(config.clone()),
                    Lookup::Unavailable { last, .. } => last.clone(),
                    _ => None,
                };
                self.lookup = Lookup::Unavailable { reason, last };
                jittered(
                    FIRST_PAUSE
                        .saturating_mul(1 << failures.min(6))
                        .min(LONGEST_PAUSE),
                )
            }
        }
    }
}

/// Between 75 % and 100 %, so that thousands of look-ups do not keep coming in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.75 + 0.25 * fastrand::f64())
}

#[cfg(test)]
mod tests;
