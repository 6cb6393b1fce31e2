//! Connections to upstreams, kept for the next request.
//!
//! Own code rather than the HTTP library's pool, for three reasons: connections come from tunnels as well as from
//! dialling, the key is everything that affects identity, and nothing is spawned per request (the library's pool
//! spawns one task per HTTP/1 response to wait for its end; here the response's body gives the connection back).

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::body::RequestBody;
use crate::upstream::{UpstreamKey, UpstreamTls};

/// An unused connection is closed after this: below the 60 s after which many servers and balancers close theirs,
/// so that a request rarely meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(50);

/// A connection is not used for longer than this, so that changed DNS answers and scaled-out targets are noticed.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);

/// Unused connections kept per upstream.
const MAX_IDLE: usize = 128;

/// How often unused connections are looked through.
const SWEEP: Duration = Duration::from_secs(10);

/// All upstreams in use.
#[derive(Debug, Default)]
pub struct Pool {
    upstreams: Mutex<HashMap<UpstreamKey, Weak<Upstream>>>,
}

/// One upstream and its unused connections.
#[derive(Debug)]
pub struct Upstream {
    /// Who it is.
    pub key: UpstreamKey,
    /// How to check it; `None` for plain connections.
    pub tls: Option<UpstreamTls>,
    idle: Mutex<Vec<Idle>>,
}

/// A connection ready for a request.
#[derive(Debug)]
pub struct Idle {
    /// Sends requests on it.
    pub sender: SendRequest<RequestBody>,
    driver: Driver,
    born: Instant,
    since: Instant,
}

/// The task that moves a connection's bytes. It ends with its connection's last user: a target that stops reading in
/// the middle of a request would otherwise keep the task, both sockets and the application's body for ever.
#[derive(Debug)]
struct Driver(Option<AbortHandle>);

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Idle {
    /// A connection just made, and the task that drives it.
    pub fn new(sender: SendRequest<RequestBody>, driver: AbortHandle) -> Self {
        let now = Instant::now();
        Self {
            sender,
            driver: Driver(Some(driver)),
            born: now,
            since: now,
        }
    }

    /// Lets the driver finish by itself: it hands an upgraded connection over.
    pub fn detach(mut self) {
        self.driver.0 = None;
    }

    fn is_usable(&self, now: Instant) -> bool {
        !self.sender.is_closed()
            && now.saturating_duration_since(self.since) < IDLE
            && now.saturating_duration_since(self.born) < MAX_AGE
    }
}

impl Pool {
    /// The upstream of this identity, shared with everybody who has it already.
    pub fn upstream(&self, key: UpstreamKey, tls: Option<UpstreamTls>) -> Arc<Upstream> {
        let mut upstreams = self.upstreams.lock();
        if let Some(upstream) = upstreams.get(&key).and_then(Weak::upgrade) {
            return upstream;
        }
        let upstream = Arc::new(Upstream {
            key: key.clone(),
            tls,
            idle: Mutex::default(),
        });
        upstreams.insert(key, Arc::downgrade(&upstream));
        upstream
    }

    /// An upstream's TLS configuration, if it is in use already: building one is costly and it holds the session
    /// tickets.
    pub fn tls_of(&self, key: &UpstreamKey) -> Option<UpstreamTls> {
        self.upstreams
            .lock()
            .get(key)
            .and_then(Weak::upgrade)?
            .tls
            .clone()
    }

    /// Closes connections nobody needed for long and forgets upstreams without users; runs until dropped.
    pub async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = Instant::now();
            let mut live = Vec::new();
            self.upstreams.lock().retain(|_, upstream| {
                live.extend(upstream.upgrade());
                upstream.strong_count() > 0
            });
            for upstream in live {
                upstream.idle.lock().retain(|idle| idle.is_usable(now));
            }
        }
    }
}

impl Upstream {
    /// The connection used last: the most likely to be alive, and the others can grow old and be closed.
    pub fn take(&self) -> Option<Idle> {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        while let Some(connection) = idle.pop() {
            if connection.is_usable(now) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is complete.
    pub fn put(&self, mut connection: Idle) {
        if connection.sender.is_closed() {
            return;
        }
        connection.since = Instant::now();
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Trust, Way};

    fn key(way: Way, trust: Trust) -> UpstreamKey {
        UpstreamKey {
            way,
            trust,
            host: "h".into(),
            port: 443,
        }
    }

    #[test]
    fn connections_are_shared_only_between_equal_identities() {
        let pool = Pool::default();
        let on_premise = |tenant: &str, location: &str| Way::OnPremise {
            tenant: tenant.into(),
            location: location.into(),
        };
        let keys = [
            key(Way::Internet, Trust::Plain),
            key(Way::Internet, Trust::Roots),
            key(Way::Internet, Trust::All),
            key(Way::Internet, Trust::Custom("a".into())),
            key(Way::Internet, Trust::Custom("b".into())),
            key(on_premise("t1", ""), Trust::Plain),
            key(on_premise("t2", ""), Trust::Plain),
            key(on_premise("t1", "x"), Trust::Plain),
        ];
        let upstreams: Vec<_> = keys.iter().map(|key| pool.upstream(key.clone(), None)).collect();
        for (i, a) in upstreams.iter().enumerate() {
            for (j, b) in upstreams.iter().enumerate() {
                assert_eq!(Arc::ptr_eq(a, b), i == j, "{} and {}", a.key, b.key);
            }
        }
        assert!(Arc::ptr_eq(&pool.upstream(keys[3].clone(), None), &upstreams[3]));
    }

    #[tokio::test(start_paused = true)]
    async fn upstreams_without_users_are_forgotten() {
        let pool = Arc::new(Pool::default());
        let kept = pool.upstream(key(Way::Internet, Trust::Roots), None);
        drop(pool.upstream(key(Way::Internet, Trust::All), None));
        tokio::spawn(Arc::clone(&pool).sweep());
        tokio::time::sleep(SWEEP * 2).await;
        assert_eq!(pool.upstreams.lock().len(), 1);
        drop(kept);
    }
}
