//! A whole gateway in a cluster of its own: an operator and a store that say what the test wants, real sockets between.

// Clippy knows test functions, but not the helpers they share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod changes;
mod following;
mod operator;
mod proxy;
mod reporting;
mod scope;
mod sidecar;
mod store;

use std::time::Duration;

/// Waits until `reached` says so.
pub(crate) async fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(60);
    assert!(
        tokio::time::timeout(limit, waiting).await.is_ok(),
        "never: {what}"
    );
}
