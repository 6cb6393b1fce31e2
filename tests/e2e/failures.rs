//! Each part dies, politely and not, while requests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get};
use landbridge_tests::client::{self, Connection, request};
use landbridge_tests::standalone::Standalone;
use landbridge_tests::{eventually, free_port, target};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::on_premise::{ALL, destination, mapping};

/// Requests that run while something happens.
struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    bad: Arc<AtomicU64>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Four workers, one request after the other, each on a connection of its own.
    fn start(address: SocketAddr) -> Self {
        let (stop, good, bad) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
        let workers = (0..4)
            .map(|_| {
                let (stop, good, bad) = (Arc::clone(&stop), Arc::clone(&good), Arc::clone(&bad));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let answer = client::try_send(address, request("GET", "/", &[], "")).await;
                        let counter: &AtomicU64 = if answer.is_ok_and(|answer| answer.status == 200) {
                            &good
                        } else {
                            &bad
                        };
                        counter.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                })
            })
            .collect();
        Self {
            stop,
            good,
            bad,
            workers,
        }
    }

    fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Waits for `more` further good answers.
    async fn progress(&self, more: u64) {
        let goal = self.good() + more;
        eventually("requests succeed", async || {
            let good = self.good();
            if good >= goal {
                Ok(())
            } else {
                Err(format!("{good} of {goal}"))
            }
        })
        .await;
    }

    async fn finish(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.expect("no panic");
        }
        (
            self.good.load(Ordering::Relaxed),
            self.bad.load(Ordering::Relaxed),
        )
    }
}

fn http(url: String) -> Value {
    json!({"Type": "HTTP", "URL": url, "ProxyType": "Internet", "Authentication": "NoAuthentication"})
}

async fn hello() -> SocketAddr {
    target::serve(Router::new().fallback(any(async || "hello"))).await
}

#[tokio::test]
async fn a_killed_connector_is_missed_and_comes_back_with_its_identity() {
    let standalone = Standalone::start(&[]).await;
    let mut connector = standalone
        .connector("company", &mapping(hello().await, ALL))
        .await;
    let address = standalone.serve("erp", destination()).await;
    assert_eq!(client::get(address, "/").await.status, 200);
    connector.process.kill().await;
    eventually("its absence is told", async || {
        let answer = client::get(address, "/").await;
        if answer.status == 503 && answer.header("x-internal-error-code") == "no-connector" {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
    // The token was used at the first start; now the certificate counts.
    connector.restart();
    client::until_ok("it works again", address).await;
}

#[tokio::test]
async fn a_second_connector_takes_over_without_a_lost_request() {
    let standalone = Standalone::start(&[]).await;
    let target = hello().await;
    let first = standalone.connector("first", &mapping(target, ALL)).await;
    let _second = standalone.connector("second", &mapping(target, ALL)).await;
    // Each has two: fewer may all be the first one's.
    standalone.connected(4).await;
    let address = standalone.serve("erp", destination()).await;
    let load = Load::start(address);
    load.progress(50).await;
    first.process.terminate();
    let mut first = first;
    assert!(first.process.wait().await.success());
    load.progress(50).await;
    let (good, bad) = load.finish().await;
    assert_eq!(bad, 0, "{good} good requests");
}

#[tokio::test]
async fn a_terminated_proxy_finishes_what_it_has_begun() {
    let gate = Arc::new(Semaphore::new(0));
    let (entered, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let slow = {
        let gate = Arc::clone(&gate);
        get(async move || {
            let _ = entered.send(());
            let _permit = gate.acquire().await;
            "slow but whole"
        })
    };
    let mut standalone = Standalone::start(&[]).await;
    let address = standalone
        .serve(
            "slow",
            http(format!(
                "http://{}",
                target::serve(Router::new().route("/slow", slow)).await
            )),
        )
        .await;
    let running = tokio::spawn(client::get(address, "/slow"));
    arrivals.recv().await.expect("the request is at the target");
    standalone.process.terminate();
    eventually("it takes nothing new", async || {
        match client::try_send(address, request("GET", "/", &[], "")).await {
            Err(_) => Ok(()),
            Ok(answer) => Err(format!("answered {}", answer.status)),
        }
    })
    .await;
    gate.add_permits(1);
    assert_eq!(running.await.unwrap().text(), "slow but whole");
    assert!(standalone.process.wait().await.success());
}

#[tokio::test]
async fn a_killed_proxy_starts_again_with_everything_it_had() {
    let mut standalone = Standalone::start(&["--ports", "0"]).await;
    let _connector = standalone
        .connector("company", &mapping(hello().await, ALL))
        .await;
    standalone.serve("erp", destination()).await;
    standalone.process.kill().await;
    standalone.restart().await;
    // The tunnel has another port now, so only the Internet way and the store are looked at here.
    let names: Vec<String> = standalone
        .store
        .list()
        .await
        .unwrap()
        .iter()
        .map(|d| d.name().to_owned())
        .collect();
    assert_eq!(names, ["erp"], "acknowledged destinations are there");
    let address = standalone
        .serve("direct", http(format!("http://{}", hello().await)))
        .await;
    assert_eq!(client::get(address, "/").await.text(), "hello");
}

#[tokio::test]
async fn a_killed_proxy_is_found_again_by_its_connector() {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut standalone = Standalone::start(&["--tunnel-listen", &listen]).await;
    let _connector = standalone
        .connector("company", &mapping(hello().await, ALL))
        .await;
    standalone.serve("erp", destination()).await;
    standalone.process.kill().await;
    standalone.restart().await;
    let address = standalone.route("erp").await;
    client::until_ok("the connector is back", address).await;
}

#[tokio::test]
async fn a_dead_target_is_told_and_its_return_noticed() {
    let standalone = Standalone::start(&[]).await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", free_port()))
        .await
        .unwrap();
    let target = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let _ = axum::serve(listener, Router::new().fallback(any(async || "hello"))).await;
    });
    let address = standalone.serve("target", http(format!("http://{target}"))).await;
    let mut connection = Connection::open(address).await.unwrap();
    assert_eq!(
        connection
            .send(request("GET", "/", &[], ""))
            .await
            .unwrap()
            .status,
        200
    );
    serving.abort();
    eventually("its absence is told", async || {
        let answer = client::get(address, "/").await;
        if answer.status == 502 {
            Ok(())
        } else {
            Err(answer.status.to_string())
        }
    })
    .await;
    let listener = tokio::net::TcpListener::bind(target).await.unwrap();
    tokio::spawn(async move {
        let _ = axum::serve(listener, Router::new().fallback(any(async || "again"))).await;
    });
    assert_eq!(
        client::get(address, "/").await.text(),
        "again",
        "nothing has to time out first"
    );
}
