//! What the log tells of changes: who, what, before and after, and never a secret.

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Arc, Once};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::DynFilterFn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::support::{DESTINATIONS, Server};

/// Log lines of this thread. A test has one thread, on which its store runs as well.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

thread_local! {
    /// Where the log of this thread goes, if anywhere.
    static CAPTURED: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// Writes to what the thread captures.
struct Captured;

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        CAPTURED.with_borrow(|lines| lines.clone().unwrap_or_default())
    }
}

impl Lines {
    /// Captures all levels of this thread's log. The subscriber is one for the whole process: with one for each thread, an
    /// event that another thread came by first may stay switched off.
    fn capture() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(Captured);
            let wanted = DynFilterFn::new(|_, _| CAPTURED.with_borrow(Option::is_some));
            tracing_subscriber::registry()
                .with(layer.with_filter(wanted))
                .init();
        });
        let lines = Self::default();
        CAPTURED.set(Some(lines.clone()));
        lines
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }

    /// Events of the audit log.
    fn events(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["target"] == "landbridge::audit")
            .collect()
    }
}

fn side(event: &Value, side: &str) -> Value {
    serde_json::from_str(event[side].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn changes_are_told_without_secrets() {
    // All levels: also what is told to those who look for errors has no secret.
    let lines = Lines::capture();
    let server = Server::start().await;

    let mut one = json!({"Name": "one", "Type": "HTTP", "URL": "https://jane:hunter2@host/", "ProxyType": "Internet",
        "Authentication": "BasicAuthentication", "User": "jane", "Password": "hunter3", "URL.headers.Authorization": "hunter4"});
    let two = json!({"Name": "two", "Type": "HTTP", "URL": "http://two", "ProxyType": "Internet",
        "Authentication": "NoAuthentication"});
    let both = json!([one, two, {"Name": "three"}]);
    assert_eq!(
        server.call("POST", DESTINATIONS, &both.to_string()).await.status,
        207
    );
    one["Password"] = "hunter5".into();
    one["User"] = "joe".into();
    assert_eq!(
        server.call("PUT", DESTINATIONS, &one.to_string()).await.status,
        200
    );
    let path = format!("{DESTINATIONS}/one");
    let stale = [
        ("authorization", format!("Bearer {}", server.token().await)),
        ("if-match", "\"old\"".to_owned()),
    ];
    let stale = stale.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(server.call_with("DELETE", &path, "", &stale).await.status, 412);
    assert_eq!(server.call("DELETE", &path, "").await.status, 200);
    assert_eq!(server.call("DELETE", &path, "").await.status, 404);

    let events = lines.events();
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let word = |field: &str| event[field].as_str().unwrap().to_owned();
            (word("name"), word("action"), word("outcome"))
        })
        .collect();
    let expected = [
        ("one", "created", "done"),
        ("two", "created", "done"),
        ("one", "updated", "done"),
        ("one", "deleted", "done"),
    ];
    assert_eq!(
        told,
        expected.map(|(name, action, outcome)| (name.to_owned(), action.to_owned(), outcome.to_owned()))
    );
    for event in &events {
        assert_eq!(event["client_id"], server.binding.client_id, "{event}");
        assert_eq!(
            (&event["by"], &event["subaccount"], &event["at"], &event["kind"]),
            (
                &json!("client"),
                &json!("sub-1"),
                &json!("subaccount"),
                &json!("destination")
            ),
            "{event}"
        );
    }
    assert_eq!(
        side(&events[2], "before"),
        json!({"User": "jane", "Password": "[hidden]"})
    );
    assert_eq!(
        side(&events[2], "after"),
        json!({"User": "joe", "Password": "[hidden]"})
    );
    assert_eq!(side(&events[3], "before")["URL"], "https://host/");
    assert_eq!(side(&events[3], "after"), json!({}));

    let text = lines.text();
    for secret in ["hunter2", "hunter3", "hunter4", "hunter5"] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
    server.stop().await;
}
