//! What a stream says, to whom, and for how long.

use super::*;

#[tokio::test]
async fn a_proxy_is_told_everything_and_then_what_changes() {
    let server = Server::with_routes().await;
    let mut lines = server.stream(PROXY).await;
    assert_eq!(
        names(&lines.snapshot().await),
        ["hr/people", "hr/time", "shop/erp"]
    );
    server
        .hub
        .set_routes(vec![route("shop", "erp", Scope::Namespaced, 9)], Vec::new());
    match lines.next().await {
        Some(Message::Delta(delta)) => assert_eq!(delta.routes[0].port, 9),
        other => panic!("{other:?}"),
    }
    let change = StoreChange {
        instance: None,
        names: Some(vec!["erp".into()]),
    };
    server.hub.store_changed(change.clone());
    assert_eq!(lines.next().await, Some(Message::StoreChanged(change)));
    assert_eq!(
        lines.any().await,
        Some(Message::Alive),
        "a sign of life when nothing is new"
    );
}

#[tokio::test]
async fn a_workload_is_told_its_part() {
    let server = Server::with_routes().await;
    let mut lines = server.stream("shop/default/web-0").await;
    assert_eq!(names(&lines.snapshot().await), ["hr/time", "shop/erp"]);
}

#[tokio::test]
async fn nobody_is_served_half_a_cluster() {
    let server = Server::start(Limits::default()).await;
    let response = server.call(get(STREAM_PATH, PROXY)).await;
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, body) = json(response).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .contains("not read the cluster yet"),
        "{body}"
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let server = Server::with_routes().await;
    let key = jsonwebtoken::EncodingKey::from_secret(b"any");
    let claims = serde_json::json!({ "exp": jiff::Timestamp::now().as_second() + 3 });
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let mut lines = server.stream(&token).await;
    lines.snapshot().await;
    assert_eq!(lines.next().await, None);
    let (status, body) = json(server.call(get(STREAM_PATH, &token)).await).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body["error"].as_str().unwrap().contains("expired"), "{body}");
}

#[tokio::test]
async fn a_caller_has_its_share_of_streams() {
    let server = Server::with_routes().await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(server.stream("shop/default/web-0").await);
    }
    let (status, body) = json(server.call(get(STREAM_PATH, "shop/default/web-0")).await).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(body["error"].as_str().unwrap().contains("8 streams"), "{body}");
    server.stream("shop/default/web-1").await;
    drop(open);
    let again = async {
        while server.call(get(STREAM_PATH, "shop/default/web-0")).await.status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody_and_misses_nothing() {
    let server = Server::with_routes().await;
    let (mut slow, mut quick) = (
        server.stream(PROXY).await,
        server.stream("landbridge/proxy/p2").await,
    );
    quick.snapshot().await;
    let long = "x".repeat(400);
    for round in 1..=20u16 {
        let routes = (0..2000u16).map(|number| {
            let name = format!("d{number}-{long}");
            route("bulk", &name, Scope::Namespaced, 1000 + round)
        });
        server.hub.set_routes(routes.collect(), Vec::new());
        tokio::task::yield_now().await;
    }
    server
        .hub
        .set_routes(vec![route("bulk", "last", Scope::ClusterWide, 7)], Vec::new());
    for lines in [&mut quick, &mut slow] {
        let (mut ports, mut bytes, mut seen_last) = (std::collections::HashMap::new(), 0, false);
        while !seen_last {
            let routes = match lines.next().await.unwrap() {
                Message::Snapshot(whole) => whole.routes,
                Message::Delta(delta) => delta.routes,
                other => panic!("{other:?}"),
            };
            for route in routes {
                bytes += route.key.name.len();
                seen_last |= route.key.name == "last";
                ports.insert(route.key.name, route.port);
            }
        }
        let bulk: Vec<_> = ports.iter().filter(|(name, _)| name.starts_with('d')).collect();
        assert_eq!(bulk.len(), 2000);
        assert!(
            bulk.iter().all(|(_, port)| **port == 1020),
            "the last state counts"
        );
        assert!(bytes < 20 * 2000 * 400, "changes were summed up: {bytes}");
    }
}
