//! Changes of some properties (later API).

use serde_json::{Value, json};

use crate::items::{FRAGMENTS, INSTANCE, create, destination};
use crate::support::{Answer, DESTINATIONS, Server};

async fn patch(server: &Server, path: &str, body: Value) -> Answer {
    server.call("PATCH", path, &body.to_string()).await
}

#[tokio::test]
async fn texts_set_and_null_removes() {
    let server = Server::start().await;
    for path in [DESTINATIONS, INSTANCE] {
        let mut before = destination("d", "http://a");
        before["Description"] = json!("old");
        create(&server, path, &before).await;
        let changed = patch(
            &server,
            path,
            json!({"Name": "d", "URL": "http://b", "Description": null, "sap-client": "100"}),
        )
        .await;
        assert_eq!((changed.status.as_u16(), changed.text.as_str()), (204, ""));
        let read = server.call("GET", &format!("{path}/d"), "").await;
        let mut expected = destination("d", "http://b");
        expected["sap-client"] = json!("100");
        assert_eq!(read.json(), expected);
        assert_eq!(read.header("etag"), changed.header("etag"));
    }
    create(
        &server,
        FRAGMENTS,
        &json!({"FragmentName": "f", "a": "1", "b": "2"}),
    )
    .await;
    let changed = patch(&server, FRAGMENTS, json!({"FragmentName": "f", "a": null})).await;
    assert_eq!(changed.status.as_u16(), 204, "{}", changed.text);
    let read = server.call("GET", &format!("{FRAGMENTS}/f"), "").await;
    assert_eq!(read.json(), json!({"FragmentName": "f", "b": "2"}));
}

#[tokio::test]
async fn what_would_not_be_accepted_changes_nothing() {
    let server = Server::start().await;
    let before = destination("d", "http://a");
    create(&server, DESTINATIONS, &before).await;
    for (body, status, word) in [
        (json!({"URL": "http://b"}), 400, "Name"),
        (json!({"Name": null}), 400, "Name"),
        (json!([{"Name": "d"}]), 400, "one"),
        (json!({"Name": "d", "Type": null}), 400, "Type"),
        (json!({"Name": "d", "x": {"y": 1}}), 400, "\"x\""),
        (json!({"Name": "nothing", "URL": "http://b"}), 404, "not found"),
    ] {
        let refused = patch(&server, DESTINATIONS, body.clone()).await;
        assert_eq!(refused.status.as_u16(), status, "{body}: {}", refused.text);
        assert!(refused.message().contains(word), "{}", refused.message());
    }
    let stale = server
        .call_with(
            "PATCH",
            DESTINATIONS,
            r#"{"Name": "d", "URL": "http://b"}"#,
            &[
                ("authorization", &format!("Bearer {}", server.token().await)),
                ("if-match", "\"00\""),
            ],
        )
        .await;
    assert_eq!(stale.status, 412);
    let read = server.call("GET", &format!("{DESTINATIONS}/d"), "").await;
    assert_eq!(read.json(), before);
}

/// Each changes another property, at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_the_same_time_are_all_kept() {
    let server = Server::start().await;
    create(&server, DESTINATIONS, &destination("d", "http://a")).await;
    let bodies: Vec<_> = (0..4)
        .map(|n| {
            let mut body = json!({"Name": "d"});
            body[format!("p{n}")] = json!("x");
            body.to_string()
        })
        .collect();
    let calls = bodies.iter().map(|body| server.call("PATCH", DESTINATIONS, body));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
    let read = server.call("GET", &format!("{DESTINATIONS}/d"), "").await.json();
    assert!((0..4).all(|n| read[format!("p{n}")] == "x"), "{read}");
}
