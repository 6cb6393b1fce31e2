//! One client that calls without end is told to wait; the others do not notice.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use landbridge_store::Access;
use secrecy::ExposeSecret;
use tokio::time::{sleep, timeout};

use crate::support::{Answer, DESTINATIONS, Folder, Server, config, key, post_form, send, token_of};

async fn list(server: &Server, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    server
        .call_with("GET", DESTINATIONS, "", &[("authorization", &bearer)])
        .await
}

async fn metrics(server: &Server) -> String {
    let address = server.admin_address.unwrap();
    let request = Request::get(format!("http://{address}/metrics"));
    send(request.body(Bytes::new()).unwrap()).await.text
}

#[tokio::test]
async fn a_client_that_calls_too_often_has_to_wait() {
    let folder = Folder::new();
    let mut config = config(&folder);
    config.limits.client_rate = 1;
    config.admin_listen = Some("127.0.0.1:0".parse().unwrap());
    let server = Server::start_with(folder.clone(), config).await;
    let other = key(&folder, &server, "sub-1", "other", Access::Full).await;
    let other = token_of(server.address, &other, "").await;

    // However slow the machine: the calls are concurrent, so more than five of them are there within a second.
    let token = server.token().await;
    let refused = async {
        loop {
            let calls = (0..50).map(|_| list(&server, &token));
            let answers = futures_util::future::join_all(calls).await;
            for answer in &answers {
                assert!(
                    matches!(answer.status.as_u16(), 200 | 429),
                    "{} {}",
                    answer.status,
                    answer.text
                );
            }
            if let Some(refused) = answers.into_iter().find(|answer| answer.status == 429) {
                break refused;
            }
        }
    };
    let refused = timeout(Duration::from_secs(60), refused).await.unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    assert!(
        refused.json()["ErrorMessage"]
            .as_str()
            .unwrap()
            .contains("calls too often"),
        "{}",
        refused.text
    );

    // Another client of the same subaccount is served, and so is this one when it has waited.
    assert_eq!(list(&server, &other).await.status, 200);
    let served = async {
        while list(&server, &token).await.status != 200 {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(60), served).await.unwrap();

    let figures = metrics(&server).await;
    let count = figures
        .lines()
        .find_map(|line| line.strip_prefix("landbridge_store_requests_limited_total "));
    assert!(count.unwrap().parse::<u64>().unwrap() >= 1, "{figures}");
}

#[tokio::test]
async fn tokens_count_as_calls() {
    let folder = Folder::new();
    let mut config = config(&folder);
    config.limits.client_rate = 1;
    let server = Server::start_with(folder, config).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &server.binding.client_id),
        ("client_secret", server.binding.client_secret.expose_secret()),
    ];
    let refused = async {
        loop {
            let calls = (0..50).map(|_| post_form(&server, "/oauth/token", &form, &[]));
            let answers = futures_util::future::join_all(calls).await;
            if let Some(refused) = answers.into_iter().find(|answer| answer.status == 429) {
                break refused;
            }
        }
    };
    let refused = timeout(Duration::from_secs(60), refused).await.unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.json()["error"], "temporarily_unavailable");
}
