use std::net::SocketAddr;

use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::binding::Binding;

/// Answers the n-th request of a kind (from 0) with raw bytes, then closes; the requests' heads come back.
async fn start(
    feed: impl Fn(usize) -> String + Send + 'static,
) -> (StoreClient, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut tokens, mut feeds) = (0, 0);
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = head(&mut stream).await;
            let answer = if head.starts_with("POST /oauth/token") {
                tokens += 1;
                let body =
                    format!(r#"{{"access_token":"t{tokens}","token_type":"bearer","expires_in":3600}}"#);
                format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
            } else {
                feeds += 1;
                feed(feeds - 1)
            };
            let _ = heads.send(head);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (client(address), seen)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.windows(4).any(|four| four == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut text).await.unwrap() > 0);
    }
    String::from_utf8_lossy(&text)
        .to_lowercase()
        .replace("post /oauth", "POST /oauth")
}

fn client(address: SocketAddr) -> StoreClient {
    let key = format!(
        r#"{{"clientid":"id","clientsecret":"secret","url":"http://{address}","uri":"http://{address}/base"}}"#
    );
    let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
    StoreClient::new(Binding::from_json(&key).unwrap(), http)
}

fn stream_of(events: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n{events}"
    )
}

fn names(names: &[&str]) -> FeedChange {
    FeedChange::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

#[tokio::test]
async fn what_came_together_is_told_together() {
    let events = "id: 4\nevent: reset\ndata: {}\n\n\
                  id: 5\nevent: change\ndata: {\"name\":\"erp\",\"kind\":\"destination\"}\n\n: heartbeat\n\n";
    let (client, mut seen) = start(move |_| stream_of(events)).await;
    let mut feed = client.changes(None).await.unwrap();
    let event = feed.next().await.unwrap();
    assert_eq!(
        event,
        FeedEvent {
            id: Some(5),
            change: FeedChange::Reset
        }
    );
    assert!(matches!(feed.next().await.unwrap_err(), FeedError::Ended { .. }));
    assert_eq!(feed.last_id(), Some(5));
    seen.recv().await.unwrap();
    let request = seen.recv().await.unwrap();
    assert!(request.starts_with("get /base/landbridge/v1/events"), "{request}");
    assert!(
        request.contains("authorization: bearer t1") && !request.contains("last-event-id"),
        "{request}"
    );

    let events = "id: 8\nevent: change\ndata: {\"name\":\"erp\"}\n\nid: 9\nevent: change\ndata: {\"name\":\"crm\"}\n\n\
                  id: 10\nevent: change\ndata: {\"name\":\"erp\"}\n\nid: 11\nevent: other\ndata: {}\n\n";
    let (client, mut seen) = start(move |_| stream_of(events)).await;
    let mut feed = client.changes(Some(7)).await.unwrap();
    let event = feed.next().await.unwrap();
    assert_eq!(
        event,
        FeedEvent {
            id: Some(11),
            change: names(&["erp", "crm"])
        }
    );
    seen.recv().await.unwrap();
    assert!(seen.recv().await.unwrap().contains("last-event-id: 7"));
}

#[tokio::test]
async fn an_event_that_cannot_be_read_means_that_all_may_have_changed() {
    let (client, _seen) = start(|_| stream_of("id: 5\nevent: change\ndata: {\"nam\n\n")).await;
    let event = client.changes(Some(4)).await.unwrap().next().await.unwrap();
    assert_eq!(
        event,
        FeedEvent {
            id: Some(5),
            change: FeedChange::Reset
        }
    );
}

#[tokio::test]
async fn stores_without_a_feed_are_told_apart_from_those_in_trouble() {
    for (status, kind, unsupported) in [
        ("404 Not Found", "application/json", true),
        ("405 Method Not Allowed", "application/json", true),
        ("501 Not Implemented", "application/json", true),
        ("200 OK", "text/html", true),
        ("503 Service Unavailable", "application/json", false),
        ("403 Forbidden", "application/json", false),
    ] {
        let body = r#"{"ErrorMessage":"so it is"}"#;
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let (client, _seen) = start(move |_| answer.clone()).await;
        let error = client.changes(None).await.unwrap_err();
        assert_eq!(error == FeedError::Unsupported, unsupported, "{status} {error}");
        assert!(unsupported || error.to_string().contains("so it is"), "{error}");
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let refused = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (client, mut seen) = start(move |number| match number {
        0 => refused.to_owned(),
        _ => stream_of("event: reset\ndata: {}\n\n"),
    })
    .await;
    let event = client.changes(None).await.unwrap().next().await.unwrap();
    assert_eq!(
        event,
        FeedEvent {
            id: None,
            change: FeedChange::Reset
        }
    );
    let mut heads = Vec::new();
    while let Ok(head) = seen.try_recv() {
        heads.push(head);
    }
    assert!(heads.last().unwrap().contains("bearer t2"), "{heads:?}");

    let (client, _seen) = start(move |_| refused.to_owned()).await;
    let error = client.changes(None).await.unwrap_err();
    assert!(
        matches!(error, FeedError::Store(StoreError::Unauthorized { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn an_endless_event_is_refused() {
    let (client, _seen) = start(|_| stream_of(&format!("data: {}", "x".repeat(parser::MAX_EVENT)))).await;
    let error = client.changes(None).await.unwrap().next().await.unwrap_err();
    assert!(matches!(error, FeedError::Unreadable { .. }), "{error}");
}
