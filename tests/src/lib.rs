//! What tests across rooms share: processes of the real binary, targets, a plain HTTP client, waiting.

pub mod audit;
pub mod charts;
pub mod client;
pub mod control_plane;
pub mod interception;
pub mod netns;
pub mod operator;
pub mod pods;
pub mod process;
pub mod serve_api;
pub mod standalone;
pub mod target;
pub mod tour;

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

/// A port of loopback that nobody uses, for those who must name one before it is opened.
pub fn free_port() -> u16 {
    landbridge_control_plane::free_port().expect("a free port")
}
