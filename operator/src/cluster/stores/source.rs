//! Where the binding of an instance is kept: a file, or a Secret. Both are watched, so that a rotated one is taken over
//! without a restart.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use landbridge_runtime::shutdown::Shutdown;
use serde_json::{Map, Value};
use tokio::sync::watch;

/// Pause between two looks at a file: mounted Secrets change without any notice that works on every file system.
const LOOK: Duration = Duration::from_secs(5);

/// Longest binding.
const MAX_BYTES: u64 = 1 << 20;

/// Where a binding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// In a Secret of the API server.
    Secret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key that holds the service key; without one, each entry of the service key is a key of the Secret.
        key: Option<String>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "the file {}", path.display()),
            Self::Secret { namespace, name, key } => {
                write!(formatter, "the Secret {namespace}/{name}")?;
                match key {
                    Some(key) => write!(formatter, " (key {key})"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Source {
    /// The service key in a Secret; `key` as in [`Source::Secret`].
    ///
    /// # Errors
    /// What is wrong with it, without its content.
    pub fn content(secret: &Secret, key: Option<&str>) -> Result<Arc<str>, String> {
        content(secret, key)
    }
}

/// What reading needs.
#[derive(Clone)]
pub struct SourceContext {
    /// Client of the API server.
    pub client: Client,
}

type Text = Option<Result<Arc<str>, String>>;

/// Follows a source; the receiver holds what it says now, none before it was read.
pub(super) fn watch(source: Source, context: SourceContext, shutdown: &Shutdown) -> watch::Receiver<Text> {
    let (sender, receiver) = watch::channel(None);
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        let following = async {
            match source {
                Source::File(path) => follow_file(path, &sender).await,
                Source::Secret { namespace, name, key } => {
                    let api = Api::namespaced(context.client, &namespace);
                    follow_secret(api, &namespace, &name, key.as_deref(), &sender).await;
                }
            }
        };
        tokio::select! {
            () = stop.started() => {}
            () = sender.closed() => {}
            () = following => {}
        }
    });
    receiver
}

fn tell(sender: &watch::Sender<Text>, text: Result<Arc<str>, String>) {
    sender.send_if_modified(|known| {
        let changed = known.as_ref() != Some(&text);
        *known = Some(text);
        changed
    });
}

async fn follow_file(path: PathBuf, sender: &watch::Sender<Text>) {
    loop {
        let text = match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.len() > MAX_BYTES => Err(format!(
                "the binding {} is longer than 1 MiB: use the service key as it was printed",
                path.display()
            )),
            Ok(_) => tokio::fs::read_to_string(&path)
                .await
                .map(Arc::from)
                .map_err(|error| unreadable(&path, &error)),
            Err(error) => Err(unreadable(&path, &error)),
        };
        tell(sender, text);
        tokio::time::sleep(LOOK).await;
    }
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> String {
    format!(
        "the binding {} cannot be read: {error}; mount the Secret there",
        path.display()
    )
}

async fn follow_secret(
    api: Api<Secret>,
    namespace: &str,
    name: &str,
    key: Option<&str>,
    sender: &watch::Sender<Text>,
) {
    // By name, so that the right to read this one Secret is enough.
    let selection = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher::watcher(api, selection).default_backoff();
    pin_mut!(events);
    let missing = || {
        format!(
            "the Secret {namespace}/{name} of the destination service instance does not exist: create it, or correct --destination-service"
        )
    };
    let mut found = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => found = false,
            Ok(Event::InitApply(secret) | Event::Apply(secret)) => {
                found = true;
                tell(
                    sender,
                    content(&secret, key).map_err(|why| format!("the Secret {namespace}/{name} {why}")),
                );
            }
            Ok(Event::InitDone) if found => {}
            Ok(Event::InitDone | Event::Delete(_)) => tell(sender, Err(missing())),
            Err(error) => {
                // What was read before still counts.
                if sender.borrow().is_none() {
                    tell(
                        sender,
                        Err(format!(
                            "the Secret {namespace}/{name} cannot be read: {error}; give the operator's service account the right to get and watch it"
                        )),
                    );
                }
            }
        }
    }
}

/// The service key in a Secret.
fn content(secret: &Secret, key: Option<&str>) -> Result<Arc<str>, String> {
    let text = |bytes: &[u8], key: &str| {
        std::str::from_utf8(bytes).map(ToOwned::to_owned).map_err(|_| {
            format!("has something in {key} that is no text: store the service key as it was printed")
        })
    };
    let data = secret.data.as_ref();
    if let Some(key) = key {
        let bytes = data
            .and_then(|data| data.get(key))
            .ok_or_else(|| format!("has no key {key}: add it, or correct --destination-service"))?;
        return Ok(text(&bytes.0, key)?.into());
    }
    let mut entries = Map::new();
    for (key, bytes) in data.into_iter().flatten() {
        entries.insert(key.clone(), Value::String(text(&bytes.0, key)?));
    }
    Ok(Value::Object(entries).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let data = entries
            .iter()
            .map(|(key, value)| {
                (
                    (*key).to_owned(),
                    k8s_openapi::ByteString(value.as_bytes().to_vec()),
                )
            })
            .collect();
        Secret {
            data: Some(data),
            ..Secret::default()
        }
    }

    #[test]
    fn both_forms_of_a_secret_are_read() {
        let whole = secret(&[("key.json", r#"{"clientid":"a"}"#)]);
        assert_eq!(
            content(&whole, Some("key.json")).as_deref(),
            Ok(r#"{"clientid":"a"}"#)
        );
        let error = content(&whole, Some("other")).unwrap_err();
        assert!(error.contains("has no key other"), "{error}");
        let single = secret(&[("clientid", "a"), ("uri", "https://store")]);
        assert_eq!(
            content(&single, None).as_deref(),
            Ok(r#"{"clientid":"a","uri":"https://store"}"#)
        );
    }

    #[tokio::test]
    async fn a_file_that_changes_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("binding.json");
        let (sender, mut receiver) = watch::channel(None);
        let path = file.clone();
        let task = tokio::spawn(async move { follow_file(path, &sender).await });
        receiver.changed().await.unwrap();
        let missing = receiver.borrow_and_update().clone().unwrap().unwrap_err();
        assert!(missing.contains("mount the Secret"), "{missing}");
        tokio::fs::write(&file, "{}").await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), receiver.changed())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(receiver.borrow().clone(), Some(Ok("{}".into())));
        task.abort();
    }
}
