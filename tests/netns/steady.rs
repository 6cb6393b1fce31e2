//! An application that calls all the time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use landbridge_tests::client::{request, try_send};
use landbridge_tests::eventually;
use landbridge_tests::netns::Netns;
use parking_lot::Mutex;

/// Calls one after the other, each on a connection of its own, until it is dropped.
pub(crate) struct Steady {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Steady {
    pub(crate) fn start(pod: &Netns, address: SocketAddr) -> Self {
        let shared = Arc::<Shared>::default();
        let weak = Arc::downgrade(&shared);
        pod.spawn(async move {
            loop {
                let result = try_send(address, request("GET", "/", &[], "")).await;
                let Some(shared) = weak.upgrade() else { return };
                let call = shared.calls.fetch_add(1, Ordering::SeqCst);
                let failure = match result {
                    Ok(answer) if answer.status == 200 => continue,
                    Ok(answer) => format!("{} {}", answer.status, answer.text()),
                    Err(error) => error,
                };
                shared.failures.lock().push(format!("call {call}: {failure}"));
            }
        });
        Self { shared }
    }

    /// Waits until some more calls are over.
    pub(crate) async fn more(&self) {
        let now = self.shared.calls.load(Ordering::SeqCst);
        eventually("more calls", async || {
            let calls = self.shared.calls.load(Ordering::SeqCst);
            // The one in flight now, and some that began after it.
            if calls > now + 10 {
                Ok(())
            } else {
                Err(format!("{calls}"))
            }
        })
        .await;
    }

    /// All of them were answered.
    pub(crate) fn unharmed(&self, what: &str) {
        let failures = self.shared.failures.lock();
        let calls = self.shared.calls.load(Ordering::SeqCst);
        assert!(
            failures.is_empty(),
            "{what}: {} of {calls}: {failures:#?}",
            failures.len()
        );
        println!("{what}: {calls} calls, none failed");
    }
}
