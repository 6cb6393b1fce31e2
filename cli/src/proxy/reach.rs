//! Whether the destination services are there: a new proxy is of no use before, and may replace one that has what it needs.

use std::time::Duration;

use landbridge_proxy::stores::Stores;
use landbridge_runtime::readiness::ReadyToken;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long they are waited for. One that is away for longer must not keep the destinations of the others from being
/// served.
const LONGEST: Duration = Duration::from_secs(30);

/// Pause between two attempts.
const AGAIN: Duration = Duration::from_millis(500);

/// Says `ready` when each instance has taken our service key, or has been waited for long enough.
pub(super) async fn all(stores: Stores, instances: Vec<String>, ready: ReadyToken) {
    let mut waiting = JoinSet::new();
    for instance in instances {
        waiting.spawn(one(stores.clone(), instance));
    }
    let all = async { while waiting.join_next().await.is_some() {} };
    if timeout(LONGEST, all).await.is_err() {
        tracing::warn!("not every destination service has answered; ready without");
    }
    ready.ready();
}

async fn one(stores: Stores, instance: String) {
    let mut told = false;
    loop {
        let failure = match stores.client(Some(&instance)) {
            Ok(client) => match client.log_on().await {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
            Err(failure) => failure.to_string(),
        };
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(instance, failure, "waiting for the destination service");
        }
        sleep(AGAIN).await;
    }
}
