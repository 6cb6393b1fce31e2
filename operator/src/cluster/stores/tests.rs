use std::sync::atomic::{AtomicUsize, Ordering};

use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn stores(names: &[&str]) -> Arc<Stores> {
    let instances: Vec<Instance> = names
        .iter()
        .map(|name| Instance {
            name: (*name).to_owned(),
            source: Source::File("none".into()),
        })
        .collect();
    let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
    Arc::new(Stores::new("main".into(), &instances, http))
}

fn binding(base: &str) -> String {
    serde_json::json!({"clientid": "id", "clientsecret": "secret", "url": base, "uri": base}).to_string()
}

/// All are read at the same time when the operator starts.
#[test]
fn bindings_that_come_at_once_are_all_taken_over() {
    let names = ["main", "a", "b", "c", "d", "e"];
    for _ in 0..50 {
        let stores = stores(&names);
        let start = std::sync::Barrier::new(names.len());
        std::thread::scope(|scope| {
            for name in names {
                let (stores, start) = (&stores, &start);
                scope.spawn(move || {
                    start.wait();
                    stores.rebind(name, Ok(binding("http://127.0.0.1:1")));
                });
            }
        });
        assert!(
            stores.problems().iter().all(|(_, problem)| problem.is_none()),
            "{:?}",
            stores.problems()
        );
    }
}

#[test]
fn a_binding_that_cannot_be_used_says_why() {
    let stores = stores(&["main", "other"]);
    stores.rebind("main", Ok("{}".into()));
    stores.rebind("other", Ok(binding("http://127.0.0.1:1")));
    let problems = stores.problems();
    assert!(problems[0].1.is_some() && problems[1].1.is_none(), "{problems:?}");
    let error = stores.client(Some("third")).unwrap_err();
    assert!(error.contains("main") && error.contains("other"), "{error}");
    assert!(stores.client(None).is_err());
    assert_eq!(stores.change("main", None).instance, None);
    assert_eq!(stores.change("other", None).instance.as_deref(), Some("other"));
}

/// A store that closes every feed after one event; the heads of the requests for feeds.
async fn store() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (seen, count) = (Arc::clone(&heads), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (seen, count) = (Arc::clone(&seen), Arc::clone(&count));
            tokio::spawn(async move {
                let head = head(&mut stream).await;
                let (kind, body) = if head.starts_with("post") {
                    let token = r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#;
                    ("application/json", token.to_owned())
                } else {
                    seen.lock().push(head);
                    let event = match count.fetch_add(1, Ordering::Relaxed) {
                        0 => "id: 7\nevent: reset\ndata: {}\n\n".to_owned(),
                        number => format!(
                            "id: {}\nevent: change\ndata: {{\"name\":\"erp{number}\",\"kind\":\"destination\"}}\n\n",
                            7 + number
                        ),
                    };
                    ("text/event-stream", event)
                };
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (base, heads)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&text).to_lowercase()
}

async fn next(news: &mut mpsc::Receiver<StoreNews>) -> StoreNews {
    tokio::time::timeout(Duration::from_secs(60), news.recv())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_feed_goes_on_where_it_broke_off() {
    let (base, heads) = store().await;
    let stores = stores(&["main"]);
    let (texts, receiver) = watch::channel(None);
    let (sender, mut news) = mpsc::channel(4);
    let followed = Arc::clone(&stores);
    let task = tokio::spawn(async move { follow_bindings(&followed, "main", receiver, &sender).await });
    texts.send_replace(Some(Ok(binding(&base).into())));
    let change = |names: Option<&str>| StoreChange {
        instance: None,
        names: names.map(|name| vec![name.to_owned()]),
    };
    assert_eq!(next(&mut news).await, StoreNews::Rebound(change(None)));
    assert_eq!(next(&mut news).await, StoreNews::Changed(change(None)));
    assert_eq!(next(&mut news).await, StoreNews::Changed(change(Some("erp1"))));
    assert_eq!(next(&mut news).await, StoreNews::Changed(change(Some("erp2"))));
    let heads = heads.lock().clone();
    assert!(!heads[0].contains("last-event-id"), "{}", heads[0]);
    assert!(heads[1].contains("last-event-id: 7") && heads[2].contains("last-event-id: 8"));

    // A binding that goes is no reason to forget its look-ups, but to say so.
    texts.send_replace(Some(Err("the Secret is gone".into())));
    while next(&mut news).await != StoreNews::Rebound(change(None)) {}
    assert_eq!(stores.problems()[0].1.as_deref(), Some("the Secret is gone"));
    task.abort();
}

/// Otherwise every destination would be told to fail, and a moment later to work, at each start.
#[tokio::test]
async fn a_look_up_waits_for_a_binding_that_was_not_read_yet() {
    let stores = stores(&["main"]);
    let asking = tokio::spawn({
        let stores = Arc::clone(&stores);
        async move { stores.find(DestinationSelector::named("erp"), None).await }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!asking.is_finished());
    stores.rebind("main", Err("the Secret is missing".into()));
    assert_eq!(
        asking.await.unwrap(),
        Err(Failure("the Secret is missing".into()))
    );
    let again = stores.find(DestinationSelector::named("erp"), None).await;
    assert_eq!(
        again,
        Err(Failure("the Secret is missing".into())),
        "known by now"
    );
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_is_never_read_is_a_failure() {
    let answer = stores(&["main"])
        .find(DestinationSelector::named("erp"), None)
        .await;
    assert!(
        matches!(&answer, Err(Failure(why)) if why.contains("was not read yet")),
        "{answer:?}"
    );
}
