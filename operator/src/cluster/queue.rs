//! What has to be written, and when: each key once, never two at a time, later after each failure.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// First pause after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(150);

/// Work by key. Pure but for the clock it is handed.
#[derive(Debug)]
pub struct WorkQueue<K> {
    tasks: HashMap<K, Task>,
    /// What waits, by time; the number tells equal times apart.
    order: BTreeSet<(Instant, u64)>,
    by_number: HashMap<u64, K>,
    next_number: u64,
    running: usize,
    limit: usize,
}

#[derive(Debug, Default)]
struct Task {
    /// When it is to start; none if there is nothing to do.
    due: Option<(Instant, u64)>,
    running: bool,
    failures: u32,
    /// Not before, after a failure.
    not_before: Option<Instant>,
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// Lets at most `limit` run at the same time.
    pub fn new(limit: usize) -> Self {
        Self {
            tasks: HashMap::new(),
            order: BTreeSet::new(),
            by_number: HashMap::new(),
            next_number: 0,
            running: 0,
            limit,
        }
    }

    /// There is something to do for `key`, from `at` on. If that was known, the earlier time counts.
    pub fn add(&mut self, key: &K, at: Instant) {
        let task = self.tasks.entry(key.clone()).or_default();
        let at = task.not_before.map_or(at, |not_before| at.max(not_before));
        match task.due {
            Some((due, _)) if due <= at => return,
            Some(due) => {
                self.order.remove(&due);
                self.by_number.remove(&due.1);
            }
            None => {}
        }
        let number = self.next_number;
        self.next_number += 1;
        task.due = Some((at, number));
        self.by_number.insert(number, key.clone());
        self.order.insert((at, number));
    }

    /// Something new is known about `key`: what failed before may work now.
    pub fn forgive(&mut self, key: &K) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.failures = 0;
            task.not_before = None;
        }
    }

    /// Takes the next key that may start. It must be given back to [`succeeded`](Self::succeeded) or
    /// [`failed`](Self::failed).
    pub fn take(&mut self, now: Instant) -> Option<K> {
        if self.running >= self.limit {
            return None;
        }
        let mut postponed = Vec::new();
        let mut taken = None;
        while let Some((at, number)) = self.order.first().copied().filter(|(at, _)| *at <= now) {
            self.order.remove(&(at, number));
            let Some(key) = self.by_number.get(&number) else {
                continue;
            };
            let Some(task) = self.tasks.get_mut(key) else {
                continue;
            };
            if task.running {
                // Comes back when what runs for it has ended.
                postponed.push((at, number));
                continue;
            }
            task.due = None;
            task.running = true;
            taken = self.by_number.remove(&number);
            break;
        }
        // Out of the order until then, so that they are not looked at again and again.
        for (_, number) in postponed {
            if let Some(task) = self
                .by_number
                .get(&number)
                .and_then(|key| self.tasks.get_mut(key))
            {
                task.due = task.due.map(|(at, _)| (at, number));
            }
        }
        self.running += usize::from(taken.is_some());
        taken
    }

    /// When the next key may start, if there is room.
    pub fn next_due(&self) -> Option<Instant> {
        let room = self.running < self.limit;
        self.order.first().filter(|_| room).map(|(at, _)| *at)
    }

    /// The work for `key` is done.
    pub fn succeeded(&mut self, key: &K) {
        if self.ended(key) {
            self.forgive(key);
        }
        self.tidy(key);
    }

    /// The work for `key` has to be done again, after a pause.
    pub fn failed(&mut self, key: &K, now: Instant) {
        if self.ended(key)
            && let Some(task) = self.tasks.get_mut(key)
        {
            let pause = FIRST_PAUSE
                .saturating_mul(1 << task.failures.min(10))
                .min(LONGEST_PAUSE);
            // 80 % to 120 %, so that what failed together does not come back together.
            let pause = pause.mul_f64(0.8 + 0.4 * fastrand::f64());
            task.failures += 1;
            task.not_before = Some(now + pause);
            if let Some(due) = task.due.take() {
                self.order.remove(&due);
                self.by_number.remove(&due.1);
            }
            self.add(key, now + pause);
        }
    }

    /// Forgets a key that is gone; what runs for it runs to its end.
    pub fn remove(&mut self, key: &K) {
        if let Some(task) = self.tasks.get_mut(key) {
            if let Some(due) = task.due.take() {
                self.order.remove(&due);
                self.by_number.remove(&due.1);
            }
            task.failures = 0;
            task.not_before = None;
        }
        self.tidy(key);
    }

    /// Forgets everything that waits, and all failures; what runs runs to its end.
    pub fn clear(&mut self) {
        self.order.clear();
        self.by_number.clear();
        self.tasks.retain(|_, task| task.running);
        for task in self.tasks.values_mut() {
            (task.due, task.failures, task.not_before) = (None, 0, None);
        }
    }

    /// Keys that wait or run.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn ended(&mut self, key: &K) -> bool {
        let Some(task) = self.tasks.get_mut(key).filter(|task| task.running) else {
            return false;
        };
        task.running = false;
        self.running -= 1;
        // It may have been postponed while it ran.
        if let Some(due) = task.due {
            self.order.insert(due);
        }
        true
    }

    fn tidy(&mut self, key: &K) {
        if self
            .tasks
            .get(key)
            .is_some_and(|task| task.due.is_none() && !task.running && task.failures == 0)
        {
            self.tasks.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_key_once_and_never_two_at_a_time() {
        let now = Instant::now();
        let mut queue = WorkQueue::new(2);
        for _ in 0..100 {
            queue.add(&"a", now);
        }
        queue.add(&"b", now);
        queue.add(&"c", now);
        assert_eq!(queue.take(now), Some("a"));
        queue.add(&"a", now);
        assert_eq!(queue.take(now), Some("b"));
        assert_eq!(queue.take(now), None, "two run");
        assert_eq!(queue.next_due(), None, "no room");
        queue.succeeded(&"b");
        assert_eq!(queue.take(now), Some("c"), "a still runs");
        queue.succeeded(&"c");
        assert_eq!(queue.take(now), None);
        queue.succeeded(&"a");
        assert_eq!(
            queue.take(now),
            Some("a"),
            "what came meanwhile is done afterwards"
        );
        queue.succeeded(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_longer_after_each_failure_until_something_is_new() {
        let mut now = Instant::now();
        let mut queue = WorkQueue::new(4);
        queue.add(&"a", now);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert_eq!(queue.take(now), Some("a"));
            queue.failed(&"a", now);
            // New work of the same kind does not go around the pause.
            queue.add(&"a", now);
            let due = queue.next_due().unwrap();
            pauses.push(due - now);
            assert_eq!(queue.take(now), None);
            now = due;
        }
        assert!(pauses[0] >= FIRST_PAUSE.mul_f64(0.8) && pauses[0] <= FIRST_PAUSE.mul_f64(1.2));
        assert!(pauses[11] >= LONGEST_PAUSE.mul_f64(0.8) && pauses[11] <= LONGEST_PAUSE.mul_f64(1.2));
        assert_eq!(queue.take(now), Some("a"));
        queue.failed(&"a", now);
        queue.forgive(&"a");
        queue.add(&"a", now);
        assert_eq!(queue.take(now), Some("a"), "a new generation is tried at once");
        queue.succeeded(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_survives_a_new_beginning() {
        let now = Instant::now();
        let mut queue = WorkQueue::new(2);
        for key in ["a", "b", "c"] {
            queue.add(&key, now);
        }
        assert_eq!(queue.take(now), Some("a"));
        queue.add(&"a", now);
        queue.clear();
        assert_eq!((queue.len(), queue.next_due()), (1, None));
        queue.add(&"a", now);
        queue.add(&"b", now);
        assert_eq!(queue.take(now), Some("b"));
        assert_eq!(queue.take(now), None, "a still runs");
        queue.succeeded(&"a");
        assert_eq!(queue.take(now), Some("a"));
        queue.succeeded(&"a");
        queue.succeeded(&"b");
        assert!(queue.is_empty(), "{queue:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_time_counts_and_a_key_that_is_gone_is_forgotten() {
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        let mut queue = WorkQueue::new(4);
        queue.add(&"a", later);
        queue.add(&"a", now);
        queue.add(&"b", later);
        assert_eq!(queue.take(now), Some("a"));
        queue.remove(&"a");
        queue.remove(&"b");
        queue.succeeded(&"a");
        assert!(queue.is_empty(), "{queue:?}");
    }
}
