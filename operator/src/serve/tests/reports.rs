//! Who may report, and what is answered.

use super::*;

#[tokio::test]
async fn reports_are_taken_from_proxies_by_the_leader() {
    let server = Server::with_routes().await;
    let delta = Report {
        whole: false,
        ..whole(1)
    };
    let answer = |answer: &ReportAnswer| serde_json::to_value(answer).unwrap();
    let (status, body) = server.report(PROXY, &delta).await;
    assert_eq!(
        (status, body),
        (StatusCode::CONFLICT, answer(&ReportAnswer::SendWhole))
    );
    let (status, body) = server.report(PROXY, &whole(2)).await;
    assert_eq!((status, body), (StatusCode::OK, answer(&ReportAnswer::Taken)));
    assert_eq!(
        server
            .board
            .read(|reports| reports.pods().map(|pod| pod.uid.clone()).next()),
        Some("uid-p1".into())
    );

    for (token, says) in [
        ("shop/default/web-0", "not one of a proxy"),
        ("landbridge/proxy", "bound to no pod"),
    ] {
        let (status, body) = server.report(token, &whole(1)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{token}");
        assert!(body["error"].as_str().unwrap().contains(says), "{body}");
    }
    let (status, body) = server.post(PROXY, Body::from("{}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        body["error"].as_str().unwrap().contains("missing field"),
        "{body}"
    );

    let leader = std::net::SocketAddr::from(([10, 1, 1, 1], 7443));
    server
        .leadership
        .send_replace(Leadership::Following(Some(leader)));
    let (status, body) = server.report(PROXY, &whole(3)).await;
    let expected = answer(&ReportAnswer::NotLeader { leader: Some(leader) });
    assert_eq!((status, body), (StatusCode::MISDIRECTED_REQUEST, expected));
}

#[tokio::test]
async fn reports_are_bounded() {
    let server = Server::with_routes().await;
    let long = vec![b' '; MAX_MESSAGE_BYTES + 1];
    let (status, body) = server.post(PROXY, Body::from(long.clone())).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    let pieces = long
        .chunks(1 << 20)
        .map(Bytes::copy_from_slice)
        .map(Ok::<_, std::io::Error>);
    let pieces: Vec<_> = pieces.collect();
    let unannounced = Body::from_stream(futures_util::stream::iter(pieces));
    let (status, body) = server.post(PROXY, unannounced).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
}
