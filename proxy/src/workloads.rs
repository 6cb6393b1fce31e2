//! Who calls from which address, as the operator says, and whether that caller may use a route.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use landbridge_destination::serve::Workload;
use parking_lot::RwLock;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

mod access;

pub use access::{Access, decide};

/// How long a caller that nobody knows yet may wait to become known. A container runs before the cluster has heard of its
/// address: the kubelet looks at its containers once a second, and the news takes a moment to get here.
const INTRODUCTION: Duration = Duration::from_secs(3);

/// How many such callers wait at a time; the others are strangers at once.
const WAITING: usize = 256;

/// The pods of the cluster by address. Changed in place: a change costs as much as it is long, however many pods there
/// are. Addresses are kept in their canonical form, an IPv4 one never as an IPv6 one.
#[derive(Debug)]
pub struct Workloads {
    index: RwLock<HashMap<IpAddr, Arc<Workload>>>,
    /// Grows with every change that a decision may depend on.
    version: AtomicU64,
    changes: watch::Sender<u64>,
    waiting: Semaphore,
}

impl Default for Workloads {
    fn default() -> Self {
        Self {
            index: RwLock::default(),
            version: AtomicU64::default(),
            changes: watch::Sender::default(),
            waiting: Semaphore::new(WAITING),
        }
    }
}

impl Workloads {
    /// Knows nobody yet: every caller of a namespaced route is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on exactly these are known.
    pub fn replace(&self, workloads: Vec<Workload>) {
        let index = workloads.into_iter().map(entry).collect();
        let old = std::mem::replace(&mut *self.index.write(), index);
        self.touch();
        // Freed after the lock is: new connections need not wait for it.
        drop(old);
    }

    /// These are new or different, and those addresses are nobody's any more.
    pub fn change(&self, changed: Vec<Workload>, removed: &[IpAddr]) {
        if changed.is_empty() && removed.is_empty() {
            return;
        }
        {
            let mut index = self.index.write();
            // First what goes: an address may go from one pod to another in one change.
            for address in removed {
                index.remove(&address.to_canonical());
            }
            index.extend(changed.into_iter().map(entry));
        }
        self.touch();
    }

    /// Something else that decisions depend on has changed: the scope of a route.
    pub fn touch(&self) {
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        self.changes.send_modify(|known| *known = version.max(*known));
    }

    /// Number of the state; a decision holds as long as it stays the same.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Who has this address.
    pub fn find(&self, address: IpAddr) -> Option<Arc<Workload>> {
        self.index.read().get(&address.to_canonical()).cloned()
    }

    /// Completes when somebody is known by this address, or when it has been waited for long enough.
    pub async fn introduced(&self, address: IpAddr) {
        if self.find(address).is_some() {
            return;
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return;
        };
        let mut changes = self.changes();
        let known = async {
            while self.find(address).is_none() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // Whoever stays unknown is refused by the check that follows.
        let _ = timeout(INTRODUCTION, known).await;
    }

    /// Everybody, in no particular order.
    pub fn all(&self) -> Vec<Arc<Workload>> {
        self.index.read().values().cloned().collect()
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.index.read().len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn entry(mut workload: Workload) -> (IpAddr, Arc<Workload>) {
    workload.address = workload.address.to_canonical();
    (workload.address, Arc::new(workload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(address: &str, namespace: &str) -> Workload {
        Workload {
            address: address.parse().unwrap(),
            namespace: namespace.into(),
            service_account: "default".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_just_started_is_waited_for() {
        let workloads = Arc::new(Workloads::new());
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let start = tokio::time::Instant::now();
        let own = Arc::clone(&workloads);
        let waiting = tokio::spawn(async move { own.introduced(address).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Somebody else does not count.
        workloads.change(vec![workload("10.0.0.2", "a")], &[]);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!waiting.is_finished());
        workloads.change(vec![workload("10.0.0.1", "a")], &[]);
        waiting.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_millis(1500));
        workloads.introduced(address).await;
        assert_eq!(start.elapsed(), Duration::from_millis(1500), "known: at once");
        workloads.introduced("10.0.0.9".parse().unwrap()).await;
        assert_eq!(
            start.elapsed(),
            Duration::from_millis(1500) + INTRODUCTION,
            "not for ever"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_strangers_wait() {
        let workloads = Arc::new(Workloads::new());
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let start = tokio::time::Instant::now();
        for _ in 0..WAITING {
            let own = Arc::clone(&workloads);
            tokio::spawn(async move { own.introduced(address).await });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        workloads.introduced(address).await;
        assert_eq!(start.elapsed(), Duration::from_millis(1));
    }

    #[test]
    fn changes_are_seen_and_numbered() {
        let workloads = Workloads::new();
        let namespace = |address: &str| {
            workloads
                .find(address.parse().unwrap())
                .map(|found| found.namespace.clone())
        };
        workloads.replace(vec![workload("10.0.0.1", "a"), workload("::ffff:10.0.0.2", "b")]);
        let first = workloads.version();
        assert_eq!(
            namespace("10.0.0.2").as_deref(),
            Some("b"),
            "one address, two ways to write it"
        );
        assert_eq!(namespace("::ffff:10.0.0.1").as_deref(), Some("a"));
        workloads.change(Vec::new(), &[]);
        assert_eq!(workloads.version(), first, "nothing has changed");
        workloads.change(
            vec![workload("10.0.0.1", "c"), workload("fd00::1", "d")],
            &["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
        );
        assert!(workloads.version() > first);
        assert_eq!(
            ["10.0.0.1", "10.0.0.2", "fd00::1"].map(namespace),
            [Some("c".to_owned()), None, Some("d".to_owned())]
        );
        workloads.replace(Vec::new());
        assert!(workloads.is_empty());
    }
}
