//! Labels of destinations and fragments (later API).

use serde_json::json;

use crate::items::{FRAGMENTS, INSTANCE, INSTANCE_FRAGMENTS, create, destination};
use crate::support::{DESTINATIONS, FIND, Server};

#[tokio::test]
async fn labels_are_set_changed_and_filtered_by() {
    let server = Server::start().await;
    for path in [DESTINATIONS, INSTANCE, FRAGMENTS, INSTANCE_FRAGMENTS] {
        let thing = if path.ends_with("Fragments") {
            json!({"FragmentName": "d"})
        } else {
            destination("d", "http://host")
        };
        create(&server, path, &thing).await;
        let labels = format!("{path}/d/labels");
        assert_eq!(server.call("GET", &labels, "").await.json(), json!([]));
        for (method, body, expected) in [
            (
                "PUT",
                json!([{"key": "stage", "values": ["dev", "prod"]}, {"key": "team", "values": ["a"]}]),
                json!([{"key": "stage", "values": ["dev", "prod"]}, {"key": "team", "values": ["a"]}]),
            ),
            (
                "PATCH",
                json!({"action": "ADD", "labels": [{"key": "team", "values": ["b", "a"]}]}),
                json!([{"key": "stage", "values": ["dev", "prod"]}, {"key": "team", "values": ["a", "b"]}]),
            ),
            (
                "PATCH",
                json!({"action": "REMOVE", "labels": [{"key": "stage", "values": ["dev"]}]}),
                json!([{"key": "stage", "values": ["prod"]}, {"key": "team", "values": ["a", "b"]}]),
            ),
            (
                "PATCH",
                json!({"action": "DELETE", "labels": [{"key": "team", "values": []}]}),
                json!([{"key": "stage", "values": ["prod"]}]),
            ),
        ] {
            let changed = server.call(method, &labels, &body.to_string()).await;
            assert_eq!(
                (changed.status.as_u16(), changed.json()),
                (200, expected.clone()),
                "{path}"
            );
            assert_eq!(server.call("GET", &labels, "").await.json(), expected);
        }
        for (value, found) in [("prod", 1), ("dev", 0)] {
            let filter = format!("{path}?$filter=Label['stage']%20HAS%20('{value}')&$includeMetadata=labels");
            let list = server.call("GET", &filter, "").await.json();
            let list = list.as_array().unwrap();
            assert_eq!(list.len(), found, "{path} {value}");
            for one in list {
                assert_eq!(
                    one["$metadata"]["labels"],
                    json!([{"key": "stage", "values": ["prod"]}])
                );
            }
        }
        for (method, body) in [
            ("PUT", "{}"),
            ("PUT", r#"[{"key": "a"}]"#),
            ("PUT", r#"[{"key": "a", "values": []}]"#),
            (
                "PUT",
                r#"[{"key": "a", "values": ["x"]}, {"key": "a", "values": ["y"]}]"#,
            ),
            ("PATCH", r#"{"action": "SET", "labels": []}"#),
            (
                "PATCH",
                r#"{"action": "ADD", "labels": [{"key": "", "values": ["x"]}]}"#,
            ),
        ] {
            let refused = server.call(method, &labels, body).await;
            assert_eq!(refused.status.as_u16(), 400, "{method} {body}: {}", refused.text);
        }
        let kept = server.call("GET", &labels, "").await.json();
        assert_eq!(kept, json!([{"key": "stage", "values": ["prod"]}]));
        for method in ["GET", "PUT"] {
            let missing = server.call(method, &format!("{path}/nothing/labels"), "[]").await;
            assert_eq!(missing.status, 404);
        }
    }
    let found = server
        .call("GET", &format!("{FIND}/d?$includeMetadata=labels"), "")
        .await
        .json();
    let labels = &found["destinationConfiguration"]["$metadata"]["labels"];
    assert_eq!(*labels, json!([{"key": "stage", "values": ["prod"]}]), "{found}");
    // A destination that is made anew does not inherit them.
    server.call("DELETE", &format!("{DESTINATIONS}/d"), "").await;
    create(&server, DESTINATIONS, &destination("d", "http://host")).await;
    let labels = server.call("GET", &format!("{DESTINATIONS}/d/labels"), "").await;
    assert_eq!(labels.json(), json!([]));
}

/// Ten add a value each, at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_added_at_the_same_time_are_all_kept() {
    let server = Server::start().await;
    create(&server, DESTINATIONS, &destination("d", "http://host")).await;
    let path = format!("{DESTINATIONS}/d/labels");
    let bodies: Vec<_> = (0..10)
        .map(|n| json!({"action": "ADD", "labels": [{"key": "n", "values": [n.to_string()]}]}).to_string())
        .collect();
    let calls = bodies.iter().map(|body| server.call("PATCH", &path, body));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let labels = server.call("GET", &path, "").await.json();
    assert_eq!(labels[0]["values"].as_array().unwrap().len(), 10);
}
