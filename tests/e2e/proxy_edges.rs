//! What a proxy is expected to get right and often does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, get};
use landbridge_tests::client::{self, Connection, raw, request};
use landbridge_tests::standalone::{Standalone, manifest_on};
use landbridge_tests::target::{self, Protected};
use landbridge_tests::{eventually, free_port, target::serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn http(url: String) -> Value {
    json!({"Type": "HTTP", "URL": url, "ProxyType": "Internet", "Authentication": "NoAuthentication"})
}

fn says(word: &'static str) -> Router {
    Router::new().fallback(any(async move || word))
}

/// Declares `name` for the destination `destination` on this port.
fn declare(standalone: &Standalone, name: &str, destination: &str, port: u16) {
    let text = manifest_on(name, destination, port);
    std::fs::write(standalone.path("manifests").join(format!("{name}.yaml")), text).unwrap();
}

async fn answers(port: u16, word: &str) {
    let address = ([127, 0, 0, 1], port).into();
    eventually(&format!("{port} says {word}"), async || {
        let text = client::try_send(address, request("GET", "/", &[], ""))
            .await?
            .text();
        if text == word { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn routes_swap_their_ports() {
    let standalone = Standalone::start(&[]).await;
    for word in ["one", "two"] {
        standalone
            .serve(word, http(format!("http://{}", serve(says(word)).await)))
            .await;
    }
    let (first, second) = (free_port(), free_port());
    declare(&standalone, "a", "one", first);
    declare(&standalone, "b", "two", second);
    answers(first, "one").await;
    answers(second, "two").await;
    // Both at once, in one file, so that they are one change.
    let both = ["a", "b"].map(|name| {
        let text =
            std::fs::read_to_string(standalone.path("manifests").join(format!("{name}.yaml"))).unwrap();
        text.replace(&first.to_string(), "PORT")
            .replace(&second.to_string(), &first.to_string())
            .replace("PORT", &second.to_string())
    });
    std::fs::remove_file(standalone.path("manifests").join("b.yaml")).unwrap();
    std::fs::write(standalone.path("manifests").join("a.yaml"), both.join("---\n")).unwrap();
    answers(first, "two").await;
    answers(second, "one").await;
}

#[tokio::test]
async fn a_port_that_becomes_free_is_taken() {
    let standalone = Standalone::start(&[]).await;
    standalone
        .serve("one", http(format!("http://{}", serve(says("one")).await)))
        .await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    declare(&standalone, "waiting", "one", port);
    eventually("the conflict is told", async || {
        let status = standalone
            .status("waiting")
            .await
            .ok_or("not declared")?
            .to_string();
        if status.contains("in use") {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    drop(taken);
    answers(port, "one").await;
}

#[tokio::test]
async fn a_kept_connection_follows_its_route() {
    let standalone = Standalone::start(&["--destination-ttl", "1"]).await;
    for word in ["one", "two"] {
        standalone
            .serve(word, http(format!("http://{}", serve(says(word)).await)))
            .await;
    }
    let port = free_port();
    declare(&standalone, "moving", "one", port);
    answers(port, "one").await;
    let mut connection = Connection::open(([127, 0, 0, 1], port).into()).await.unwrap();
    assert_eq!(
        connection
            .send(request("GET", "/", &[], ""))
            .await
            .unwrap()
            .text(),
        "one"
    );
    declare(&standalone, "moving", "two", port);
    eventually("the same connection reaches the new destination", async || {
        let answer = connection
            .send(request("GET", "/", &[], ""))
            .await
            .map_err(|error| error.to_string())?;
        if answer.text() == "two" {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
    // A route that goes takes its connections with it, after the current request.
    std::fs::remove_file(standalone.path("manifests").join("moving.yaml")).unwrap();
    eventually("the connection ends", async || {
        match connection.send(request("GET", "/", &[], "")).await {
            Err(_) => Ok(()),
            Ok(answer) => Err(answer.text()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_get_keeps_its_chunked_body() {
    let standalone = Standalone::start(&[]).await;
    let address = standalone
        .serve("search", http(format!("http://{}", target::mirror().await)))
        .await;
    let bytes = b"GET /_search HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n";
    let answer = raw(address, bytes).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"body\":\"query\""),
        "{answer}"
    );
}

#[tokio::test]
async fn a_target_that_closes_kept_connections_loses_no_get() {
    // Answers one request per connection, says nothing of closing, and closes a moment later.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await;
                    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                }
            });
        }
    });
    let standalone = Standalone::start(&[]).await;
    let address = standalone
        .serve("closing", http(format!("http://{target}")))
        .await;
    let mut connection = Connection::open(address).await.unwrap();
    for index in 0..200 {
        let answer = connection.send(request("GET", "/", &[], "")).await.unwrap();
        assert_eq!(answer.status, 200, "request {index}: {}", answer.text());
        tokio::time::sleep(std::time::Duration::from_millis(index % 6)).await;
    }
}

#[tokio::test]
async fn a_circle_is_told() {
    let standalone = Standalone::start(&[]).await;
    let port = free_port();
    let mut destination = http(format!("http://127.0.0.1:{port}"));
    destination["Name"] = "circle".into();
    standalone.put(destination).await;
    declare(&standalone, "circle", "circle", port);
    let address = ([127, 0, 0, 1], port).into();
    eventually("the circle is told", async || {
        let answer = client::try_send(address, request("GET", "/", &[], "")).await?;
        if answer.status == 508 && answer.header("x-internal-error-code") == "loop" {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
}

#[tokio::test]
async fn a_target_that_always_refuses_is_no_flood_at_the_token_service() {
    let protected = Protected::default();
    let tokens = protected.start().await;
    let refused = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&refused);
    let api = Router::new().route("/open", get(async || "open")).route(
        "/closed",
        get(async move || {
            counter.fetch_add(1, Ordering::SeqCst);
            StatusCode::UNAUTHORIZED
        }),
    );
    let api = serve(api).await;
    let standalone = Standalone::start(&[]).await;
    let destination = json!({"Type": "HTTP", "URL": format!("http://{api}"), "ProxyType": "Internet",
        "Authentication": "OAuth2ClientCredentials", "tokenServiceURL": format!("http://{tokens}/oauth/token"),
        "tokenServiceURLType": "Dedicated", "clientId": "client", "clientSecret": "secret"});
    let address = standalone.serve("scoped", destination).await;
    for _ in 0..40 {
        assert_eq!(
            client::get(address, "/closed").await.status,
            401,
            "the target's own answer"
        );
        assert_eq!(client::get(address, "/open").await.text(), "open");
    }
    assert!(refused.load(Ordering::SeqCst) >= 40);
    assert!(
        protected.issued() <= 8,
        "{} tokens for 40 refusals",
        protected.issued()
    );
}
