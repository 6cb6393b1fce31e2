//! How soon a change of a destination is seen by its callers.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{BACKENDS, SHOP, world};

fn destination(password: &str) -> Value {
    json!({
        "Name": "changing", "Type": "HTTP", "URL": format!("http://echo.{BACKENDS}.svc.cluster.local"),
        "ProxyType": "Internet", "Authentication": "BasicAuthentication", "User": "me", "Password": password,
    })
}

/// A client calls all the time while the password changes in the store. Goal: seen within 1 s; the figure is printed, and
/// the test fails only where the change feed cannot have brought it (the next look would be after 30 s).
#[tokio::test]
async fn a_change_in_the_store_reaches_callers_at_once() {
    let world = world().await;
    world.put(&destination("first")).await;
    world.declare(SHOP, "changing", json!({})).await;
    world
        .curl_until(SHOP, &["http://changing/"], "Basic bWU6Zmlyc3Q=")
        .await;
    let mut longest = Duration::ZERO;
    for (password, header) in [("second", "Basic bWU6c2Vjb25k"), ("third", "Basic bWU6dGhpcmQ=")] {
        // The client runs in the pod all the time, so that starting it is not measured.
        let script = format!(
            "for i in $(seq 600); do curl -s -m 5 http://changing/ | grep -q '{header}' && exit 0; sleep 0.05; done; exit 1"
        );
        let mut waiting = world.cluster.command("kubectl");
        waiting.args(["exec", "-n", SHOP, "client", "--", "sh", "-c", &script]);
        let mut waiting = waiting.spawn().expect("kubectl starts");
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.put(&destination(password)).await;
        let stored = Instant::now();
        assert!(
            waiting.wait().await.expect("it ends").success(),
            "{password} was never seen"
        );
        longest = longest.max(stored.elapsed());
    }
    println!("seen by callers after {longest:?}");
    assert!(longest < Duration::from_secs(15), "{longest:?}");
}
