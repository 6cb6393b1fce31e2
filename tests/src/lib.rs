//! What tests across rooms share: processes of the real binary, targets, a plain HTTP client, waiting.

pub mod client;
pub mod process;
pub mod standalone;
pub mod target;

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a condition may take to come true. Generous: machines are slow and noisy, and a passing test does not
/// wait for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `condition` until it gives a value; panics with the last reason when patience ends.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(reason) if Instant::now() > until => panic!("{what}: not within {PATIENCE:?}: {reason}"),
            Err(_) => sleep(Duration::from_millis(25)).await,
        }
    }
}

/// A port of loopback that nobody uses, for those who must name one before it is opened. Not from the range that the
/// system gives to outgoing connections (32768 and up): one of them could take it before it is used.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 21_000;
    const COUNT: u16 = 10_000;
    // Another process of the tests starts elsewhere.
    let start = u16::try_from(std::process::id() * 37 % u32::from(COUNT)).unwrap_or_default();
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
