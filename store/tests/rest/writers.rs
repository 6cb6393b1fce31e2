//! Several writers of one destination: with the version they read, one is served and the others are told.

use serde_json::{Value, json};

use crate::support::{DESTINATIONS, Server};

fn destination(url: &str) -> Value {
    json!({"Name": "shared", "Type": "HTTP", "URL": url, "ProxyType": "Internet", "Authentication": "NoAuthentication"})
}

/// Two replacements, and a replacement and a deletion, at the same time and with the same version.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_writers_with_one_version_one_is_told() {
    let server = Server::start().await;
    let path = format!("{DESTINATIONS}/shared");
    let bearer = format!("Bearer {}", server.token().await);
    for round in 0..100 {
        let created = server
            .call_with(
                "POST",
                DESTINATIONS,
                &destination("http://start").to_string(),
                &[("authorization", &bearer)],
            )
            .await;
        assert!(created.status == 201 || created.status == 409, "{}", created.text);
        let read = server
            .call_with("GET", &path, "", &[("authorization", &bearer)])
            .await;
        let etag = read.header("etag").to_owned();
        let headers = [("authorization", bearer.as_str()), ("if-match", etag.as_str())];
        let bodies = ["http://one", "http://two"].map(|url| destination(url).to_string());
        let deletes = round % 2 == 1;
        let (one, two) = tokio::join!(
            server.call_with("PUT", DESTINATIONS, &bodies[0], &headers),
            async {
                if deletes {
                    server.call_with("DELETE", &path, "", &headers).await
                } else {
                    server.call_with("PUT", DESTINATIONS, &bodies[1], &headers).await
                }
            }
        );
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        let now = server
            .call_with("GET", &path, "", &[("authorization", &bearer)])
            .await;
        if deletes && two.status == 200 {
            // Whoever comes after a deletion finds nothing.
            assert_eq!((statuses, now.status.as_u16()), ([404, 200], 404));
            continue;
        }
        let winner = if one.status == 200 { &bodies[0] } else { &bodies[1] };
        assert_eq!(&now.text, winner, "round {round}");
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "round {round}");
        // The one that lost is not written later either, and the version that was read counts no more.
        let late = server.call_with("PUT", DESTINATIONS, &bodies[0], &headers).await;
        assert_eq!(late.status, 412);
    }
    server.stop().await;
}
