//! The change feed, read by the client that proxies and operators use.

use std::time::Duration;

use http::Request;
use landbridge_destination::{FeedChange, FeedError, FeedEvent, StoreClient};
use landbridge_runtime::http_client::CallLimits;
use landbridge_store::{Access, Config};
use serde_json::json;

use crate::support::{DESTINATIONS, Folder, Server, config, http, key};

const FEED: &str = "/landbridge/v1/events";

fn destination(name: &str) -> String {
    json!({"Name": name, "Type": "HTTP", "URL": "https://example.com", "Authentication": "NoAuthentication", "ProxyType": "Internet"}).to_string()
}

async fn post(server: &Server, name: &str) {
    let answer = server.call("POST", DESTINATIONS, &destination(name)).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

/// What comes next, within a generous limit.
async fn next(feed: &mut landbridge_destination::Feed) -> FeedEvent {
    tokio::time::timeout(Duration::from_secs(60), feed.next())
        .await
        .unwrap()
        .unwrap()
}

/// Reads until `count` names have come; the number of the last event.
async fn names(feed: &mut landbridge_destination::Feed, count: usize) -> (Vec<String>, u64) {
    let mut all = Vec::new();
    loop {
        let event = next(feed).await;
        match event.change {
            FeedChange::Names(names) => all.extend(names),
            FeedChange::Reset => panic!("reset after {all:?}"),
        }
        if all.len() >= count {
            return (all, event.id.unwrap());
        }
    }
}

async fn opened(client: &StoreClient) -> (landbridge_destination::Feed, u64) {
    let mut feed = client.changes(None).await.unwrap();
    let first = next(&mut feed).await;
    assert_eq!(first.change, FeedChange::Reset, "nothing is known at first");
    (feed, first.id.unwrap())
}

#[tokio::test]
async fn every_write_is_told_and_a_break_loses_nothing() {
    let server = Server::start().await;
    let client = server.client();
    let (mut feed, start) = opened(&client).await;
    post(&server, "a").await;
    let (told, first) = names(&mut feed, 1).await;
    assert_eq!(told, ["a"]);
    assert!(first > start);
    drop(feed);

    assert_eq!(
        server.call("PUT", DESTINATIONS, &destination("a")).await.status,
        200
    );
    let batch = format!("[{},{}]", destination("b"), destination("a"));
    assert_eq!(
        server.call("POST", DESTINATIONS, &batch).await.status,
        207,
        "a exists"
    );
    assert_eq!(
        server
            .call("DELETE", &format!("{DESTINATIONS}/b"), "")
            .await
            .status,
        200
    );
    let mut feed = client.changes(Some(first)).await.unwrap();
    // Updated, created, deleted: what is told together has each name once.
    let (told, last) = names(&mut feed, 2).await;
    assert_eq!(told[..2], ["a", "b"]);
    assert!(last > first);

    let folder = server.stop().await;
    let ended = async {
        loop {
            // What was told before the drain may still be on its way.
            if let Err(error) = feed.next().await {
                return error;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .unwrap();
    assert!(matches!(ended, FeedError::Ended { .. }), "{ended}");
    let server = Server::start_with(folder.clone(), config(&folder)).await;
    post(&server, "c").await;
    let mut feed = server.client().changes(Some(last)).await.unwrap();
    // The three writes may have been told one by one, so some of them may come again.
    let (mut told, _) = names(&mut feed, 1).await;
    while told.last().map(String::as_str) != Some("c") {
        told = names(&mut feed, 1).await.0;
    }
}

#[tokio::test]
async fn the_events_say_what_happened_where() {
    let server = Server::start().await;
    let start = opened(&server.client()).await.1;
    post(&server, "a").await;
    assert_eq!(
        server.call("PUT", DESTINATIONS, &destination("a")).await.status,
        200
    );
    assert_eq!(
        server
            .call("DELETE", &format!("{DESTINATIONS}/a"), "")
            .await
            .status,
        200
    );
    let request = Request::get(server.url(&format!("{FEED}?after={start}")))
        .header("authorization", format!("Bearer {}", server.token().await))
        .body(bytes::Bytes::new())
        .unwrap();
    let answer = http().open(request, Duration::from_secs(60)).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (mut body, mut text) = (answer.into_body(), String::new());
    while text.matches("\n\n").count() < 3 {
        let piece = body.next(Duration::from_secs(60)).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    for (line, action) in text.split("\n\n").zip(["created", "updated", "deleted"]) {
        let data =
            format!(r#"data: {{"kind":"destination","name":"a","level":"subaccount","action":"{action}"}}"#);
        assert!(
            line.contains(&data) && line.contains("event: change") && line.contains("id: "),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_tenant_hears_nothing_of_another() {
    let server = Server::start().await;
    let folder = server.folder.clone();
    let other = key(&folder, &server, "sub-2", "k", Access::ReadOnly).await;
    let other = StoreClient::new(other, http());
    let (mut own, _) = opened(&server.client()).await;
    let (mut others, start) = opened(&other).await;
    post(&server, "mine").await;
    assert_eq!(names(&mut own, 1).await.0, ["mine"]);
    let silent = tokio::time::timeout(Duration::from_millis(700), others.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    // Still a point to go on from, although others' numbers have passed it.
    let mut feed = other.changes(Some(start)).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), feed.next())
            .await
            .is_err()
    );
}

/// Another process with the same file: a second store stands for it, its pool and memory are its own.
#[tokio::test]
async fn writes_of_another_process_are_seen() {
    let server = Server::start().await;
    let (mut feed, _) = opened(&server.client()).await;
    let folder = server.folder.clone();
    let second = Server::start_with(folder.clone(), config(&folder)).await;
    post(&second, "from-elsewhere").await;
    assert_eq!(names(&mut feed, 1).await.0, ["from-elsewhere"]);
}

#[tokio::test]
async fn a_number_that_is_none_of_ours_or_too_old_is_a_reset() {
    let server = Server::start().await;
    let client = server.client();
    let (_, start) = opened(&client).await;
    for unknown in [0, 1, start + 1000] {
        let mut feed = client.changes(Some(unknown)).await.unwrap();
        let event = next(&mut feed).await;
        assert_eq!(
            (event.change, event.id),
            (FeedChange::Reset, Some(start)),
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn feeds_are_limited_and_need_the_right_token() {
    let folder = Folder::new();
    let mut limited: Config = config(&folder);
    limited.limits.max_feeds = 8;
    let server = Server::start_with(folder, limited).await;
    assert_eq!(server.call_with("GET", FEED, "", &[]).await.status, 401);
    assert_eq!(
        server.call("GET", &format!("{FEED}?after=x"), "").await.status,
        400
    );
    let client = server.client();
    let first = opened(&client).await;
    let _second = opened(&client).await;
    let error = client.changes(None).await.unwrap_err();
    assert!(error.to_string().contains("Too many change feeds"), "{error}");
    drop(first);
    // The place is free again as soon as the store has noticed.
    let freed = async {
        while client.changes(None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_feed_ends_with_its_token() {
    let folder = Folder::new();
    let mut short: Config = config(&folder);
    short.token_life = Duration::from_secs(60);
    let server = Server::start_with(folder, short).await;
    let request = Request::get(server.url(FEED))
        .header("authorization", format!("Bearer {}", server.token().await))
        .body(bytes::Bytes::new())
        .unwrap();
    // Its whole answer, which has an end after all, and heartbeats until then.
    let limits = CallLimits {
        answer: Duration::from_secs(180),
        max_body: 1 << 20,
    };
    let answer = http().call(request, limits).await.unwrap();
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    assert!(
        text.contains("event: reset") && text.matches("\n:").count() >= 3,
        "{text}"
    );
}
