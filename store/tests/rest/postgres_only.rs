//! What is about PostgreSQL: several stores on one database, a database that goes away and comes back, and its key and
//! password. Each test that stops a server has one of its own.

use std::time::Duration;

use landbridge_store::vault::KEY_FILE;
use landbridge_store::{Config, Store};
use landbridge_test_postgres::{Server as Postgres, Stop};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::durability::secretive;
use crate::support::{Answer, DESTINATIONS, FIND, Folder, Server, config};

/// A server of the test's own, and a store on it.
async fn start() -> (Postgres, Folder, Server) {
    let postgres = Postgres::start().unwrap();
    let folder = Folder::on(postgres.database().unwrap());
    let server = Server::start_with(folder.clone(), config(&folder)).await;
    (postgres, folder, server)
}

async fn put(server: &Server, destination: &Value) -> Answer {
    server.call("POST", DESTINATIONS, &destination.to_string()).await
}

/// Calls with a token that was fetched before, until the answer has this status.
async fn until(server: &Server, bearer: &str, path: &str, status: u16) -> Answer {
    for _ in 0..600 {
        let answer = server
            .call_with("GET", path, "", &[("authorization", bearer)])
            .await;
        if answer.status == status {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{path} was never {status}");
}

/// Stopped as by a power cut while requests come: each is answered, with 503, and the store recovers by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_lost_database_is_a_503_until_it_is_back() {
    let (postgres, _folder, server) = start().await;
    assert_eq!(put(&server, &secretive()).await.status, 201);
    let bearer = format!("Bearer {}", server.token().await);
    postgres.stop(Stop::Immediate).unwrap();

    let answer = until(&server, &bearer, DESTINATIONS, 503).await;
    assert!(!answer.message().is_empty(), "{}", answer.text);
    let refused = server
        .call_with(
            "POST",
            DESTINATIONS,
            &json!({"Name": "lost", "Type": "HTTP", "URL": "http://h", "ProxyType": "Internet", "Authentication": "NoAuthentication"})
                .to_string(),
            &[("authorization", &bearer), ("content-type", "application/json")],
        )
        .await;
    assert_eq!(refused.status, 503, "{}", refused.text);

    postgres.start_again().unwrap();
    let list = until(&server, &bearer, DESTINATIONS, 200).await.json();
    assert_eq!(
        list,
        json!([secretive()]),
        "what was acknowledged, and nothing else"
    );
    let next = json!({"Name": "next", "Type": "MAIL"});
    assert_eq!(put(&server, &next).await.status, 201);
}

/// Connections die and the server goes on, as after a failover: callers notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn cut_connections_are_made_anew() {
    let postgres = Postgres::start().unwrap();
    let database = postgres.database().unwrap();
    let folder = Folder::on(database.clone());
    let server = Server::start_with(folder.clone(), config(&folder)).await;
    assert_eq!(put(&server, &secretive()).await.status, 201);
    for round in 0..3 {
        postgres.disconnect(&database).unwrap();
        let read = server.call("GET", &format!("{DESTINATIONS}/secretive"), "").await;
        assert_eq!(read.status, 200, "{round}: {}", read.text);
        postgres.disconnect(&database).unwrap();
        let written = put(&server, &json!({"Name": format!("d{round}"), "Type": "MAIL"})).await;
        assert_eq!(written.status, 201, "{round}: {}", written.text);
    }
}

/// A database that hangs costs callers a bounded time, in the middle of a request too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_database_that_hangs_is_a_503_in_time() {
    let (postgres, _folder, server) = start().await;
    assert_eq!(put(&server, &secretive()).await.status, 201);
    let bearer = format!("Bearer {}", server.token().await);
    postgres.pause().unwrap();
    let headers = [("authorization", bearer.as_str())];
    let asked = server.call_with("GET", DESTINATIONS, "", &headers);
    let answer = tokio::time::timeout(Duration::from_secs(110), asked).await;
    assert_eq!(answer.expect("an answer").status, 503);
    postgres.resume().unwrap();
    until(&server, &bearer, DESTINATIONS, 200).await;
}

/// Two stores behind one address: what one writes, the other reads at once, and both accept each other's tokens.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn stores_on_one_database_are_one_store() {
    let folder = Folder::on(landbridge_test_postgres::database().unwrap());
    let config = Config {
        public_url: Some("https://store.example.com".into()),
        ..config(&folder)
    };
    let one = Server::start_with(folder.clone(), config.clone()).await;
    let two = Server::start_with(folder, config).await;
    let bearer = format!("Bearer {}", one.token().await);
    let both = [("authorization", bearer.as_str())];
    for round in 0..20 {
        let url = format!("https://{round}.example.com");
        let value = json!({"Name": "shared", "Type": "HTTP", "URL": url, "ProxyType": "Internet", "Authentication": "NoAuthentication"});
        let method = if round == 0 { "POST" } else { "PUT" };
        let (writer, reader) = if round % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        let written = writer
            .call_with(method, DESTINATIONS, &value.to_string(), &both)
            .await;
        assert!(written.status.is_success(), "{}", written.text);
        // The other one hears of it within moments; what it says until then is what was true before.
        let seen = async {
            loop {
                let found = reader
                    .call_with("GET", &format!("{FIND}/shared"), "", &both)
                    .await;
                if found.status == 200 && found.json()["destinationConfiguration"]["URL"] == url.as_str() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn of_two_writers_with_the_same_version_one_is_told() {
    let folder = Folder::on(landbridge_test_postgres::database().unwrap());
    let one = Server::start_with(folder.clone(), config(&folder)).await;
    let two = Server::start_with(folder.clone(), config(&folder)).await;
    let etag = put(&one, &secretive()).await.header("etag").to_owned();
    let body = secretive().to_string();
    let replace = async |server: &Server| {
        let bearer = format!("Bearer {}", server.token().await);
        let headers = [("authorization", bearer.as_str()), ("if-match", etag.as_str())];
        server
            .call_with("PUT", DESTINATIONS, &body, &headers)
            .await
            .status
            .as_u16()
    };
    let (first, second) = tokio::join!(replace(&one), replace(&two));
    let mut statuses = [first, second];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn no_secret_is_readable_in_the_database() {
    let postgres = Postgres::start().unwrap();
    let database = postgres.database().unwrap();
    let server = {
        let folder = Folder::on(database.clone());
        Server::start_with(folder.clone(), config(&folder)).await
    };
    assert_eq!(put(&server, &secretive()).await.status, 201);
    let token = server.token().await;
    let secret = server.binding.client_secret.expose_secret().to_owned();
    let dump = postgres.dump(&database).unwrap();
    assert!(
        dump.contains("secretive"),
        "the name is there, so this is the right place"
    );
    for needle in ["needle-", secret.as_str(), token.as_str(), "PRIVATE KEY"] {
        let hexadecimal: String = needle.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!dump.contains(needle) && !dump.contains(&hexadecimal), "{needle}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_wrong_or_missing_key_or_password_is_refused() {
    let database = landbridge_test_postgres::database().unwrap();
    let folder = Folder::on(database.clone());
    Server::start_with(folder.clone(), config(&folder))
        .await
        .stop()
        .await;
    let other = Folder::on(database.clone());
    let error = Store::bind(config(&other)).await.unwrap_err().to_string();
    assert!(error.contains("another key"), "{error}");

    std::fs::remove_file(other.data().join(KEY_FILE)).unwrap();
    let error = Store::bind(config(&other)).await.unwrap_err().to_string();
    assert!(error.contains("never made"), "{error}");
    assert!(!other.data().join(KEY_FILE).exists());

    let mut wrong = config(&folder);
    wrong.database_url = Some(database.url_with("wrong-password").into());
    let error = Store::bind(wrong).await.unwrap_err().to_string();
    assert!(error.contains("password authentication failed"), "{error}");
    assert!(
        !error.contains("wrong-password") && !error.contains(database.password()),
        "{error}"
    );
}
