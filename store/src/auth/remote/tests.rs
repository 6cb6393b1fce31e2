use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use tokio::net::TcpListener;

use super::*;

async fn server(status: u16, answer: fn(usize) -> String) -> (Arc<AtomicUsize>, Url) {
    let calls = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/doc", listener.local_addr().unwrap());
    let seen = Arc::clone(&calls);
    let router = Router::new().fallback(move || {
        let number = seen.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (http::StatusCode::from_u16(status).unwrap(), answer(number))
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (calls, url.parse().unwrap())
}

fn client(allow_private: bool) -> RemoteClient {
    let dialer = Dialer::new(AddressPolicy::PublicOnly).unwrap();
    RemoteClient::new(&dialer, tls::roots(&[]).unwrap(), allow_private).unwrap()
}

fn text(body: &[u8]) -> Result<String, String> {
    String::from_utf8(body.to_vec()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn one_call_for_all_who_wait_and_none_within_the_pause() {
    let (calls, url) = server(200, |number| format!("v{number}")).await;
    let remote = Remote::new(client(true), text);
    let all = futures_util::future::join_all((0..50).map(|_| remote.get(&url, |_| true))).await;
    assert!(all.iter().all(|one| **one.as_ref().unwrap() == "v1"));
    // Not enough, but fetched a moment ago.
    assert_eq!(*remote.get(&url, |text| text == "v9").await.unwrap(), "v1");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn failures_are_remembered_for_the_pause_too() {
    let (calls, url) = server(500, |_| String::new()).await;
    let remote = Remote::new(client(true), text);
    for _ in 0..5 {
        let error = remote.get(&url, |_| true).await.unwrap_err();
        assert!(error.to_string().contains("answered 500"), "{error}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn local_addresses_plain_http_and_large_documents_are_refused() {
    let (calls, url) = server(200, |_| "x".repeat(MAX_DOCUMENT + 1)).await;
    let strict = client(false);
    let error = strict.address(url.as_str()).unwrap_err();
    assert!(error.to_string().contains("use an https address"), "{error}");
    assert!(strict.address("https://user:pw@example.com/").is_err());
    assert!(strict.address("file:///etc/passwd").is_err());
    // Past the check of the address: the dialer does not go there either.
    let error = Remote::new(strict, text).get(&url, |_| true).await.unwrap_err();
    assert!(error.to_string().contains("not allowed"), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    let error = Remote::new(client(true), text)
        .get(&url, |_| true)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("larger than"), "{error}");
}

#[test]
fn an_old_document_does_while_its_server_is_down() {
    let entry = Entry {
        known: Mutex::new(Known {
            document: None,
            failure: None,
        }),
        flight: tokio::sync::Mutex::new(()),
    };
    let url = "https://issuer.example.com/".parse().unwrap();
    let down = || Err(RemoteError::Unavailable("down".to_owned()));
    assert!(entry.note(&url, down()).is_err());
    assert!(entry.usable(Instant::now(), |_| true).unwrap().is_err());
    entry.note(&url, Ok(1)).unwrap();
    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    assert!(entry.usable(later(300), |_| true).is_some());
    assert!(entry.usable(later(300), |_| false).is_none(), "lacks a key");
    assert!(entry.usable(later(700), |_| true).is_none(), "old");
    assert_eq!(*entry.note(&url, down()).unwrap(), 1);
    assert_eq!(*entry.usable(later(5), |_| false).unwrap().unwrap(), 1);
}
