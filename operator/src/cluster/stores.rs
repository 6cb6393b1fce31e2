//! The destination service instances: where their bindings are, the clients for them, and their change feeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use landbridge_destination::feed::{FeedChange, FeedError};
use landbridge_destination::serve::StoreChange;
use landbridge_destination::{Binding, DestinationSelector, StoreClient};
use landbridge_runtime::http_client::HttpClient;
use landbridge_runtime::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::lookup::{Answer, Failure, Lookups, ask};

mod source;

pub use source::{Source, SourceContext};

/// First pause before a feed is opened again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause before a feed is opened again.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Pause until a store without a feed is asked again whether it has one: it may have been updated.
const NO_FEED: Duration = Duration::from_secs(600);

/// One destination service instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name, as `destinationServiceInstanceName` says it.
    pub name: String,
    /// Where its binding is.
    pub source: Source,
}

impl Instance {
    /// Reads `NAME=FILE` or `NAME=secret:NAMESPACE/NAME[/KEY]`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no NAME=FILE or NAME=secret:NAMESPACE/NAME[/KEY]; write it in one of these forms"
            )
        };
        let (name, source) = text.split_once('=').ok_or_else(wrong)?;
        if name.is_empty() || source.is_empty() {
            return Err(wrong());
        }
        let source = match source.strip_prefix("secret:") {
            None => Source::File(source.into()),
            Some(secret) => {
                let mut parts = secret.splitn(3, '/').map(ToOwned::to_owned);
                let filled = |part: Option<String>| part.filter(|part| !part.is_empty());
                match (filled(parts.next()), filled(parts.next()), parts.next()) {
                    (Some(namespace), Some(name), key) if key.as_deref() != Some("") => {
                        Source::Secret { namespace, name, key }
                    }
                    _ => return Err(wrong()),
                }
            }
        };
        Ok(Self {
            name: name.to_owned(),
            source,
        })
    }
}

/// How long a look-up waits for a binding that was not read yet.
const READING: Duration = Duration::from_secs(10);

type Client = Result<StoreClient, String>;

/// The clients of all instances, as they are now.
pub struct Stores {
    default: String,
    clients: ArcSwap<BTreeMap<String, Client>>,
    /// Instances whose binding has not been read since the start.
    unread: watch::Sender<BTreeSet<String>>,
    /// Instances that did not answer when they were last asked, and what they said instead.
    silent: Mutex<BTreeMap<String, String>>,
    http: HttpClient,
}

/// Something about the stores that the controller has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreNews {
    /// A store says what has changed in it.
    Changed(StoreChange),
    /// An instance has another binding: whatever it said before may not hold.
    Rebound(StoreChange),
}

impl Stores {
    /// Knows names, but no bindings yet. Resources that name no instance mean `default`.
    pub fn new(default: String, instances: &[Instance], http: HttpClient) -> Self {
        let pending = |instance: &Instance| {
            let waiting = format!("{} was not read yet", instance.source);
            (instance.name.clone(), Err(waiting))
        };
        let names = instances.iter().map(|instance| instance.name.clone());
        Self {
            default,
            clients: ArcSwap::from_pointee(instances.iter().map(pending).collect()),
            unread: watch::Sender::new(names.collect()),
            silent: Mutex::default(),
            http,
        }
    }

    /// Name of the default instance.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// Names of all instances, each with what is wrong: with its binding, else with what it answered last.
    pub fn problems(&self) -> Vec<(String, Option<String>)> {
        let (clients, silent) = (self.clients.load(), self.silent.lock());
        clients
            .iter()
            .map(|(name, client)| {
                let problem = client.as_ref().err().or_else(|| silent.get(name));
                (name.clone(), problem.cloned())
            })
            .collect()
    }

    /// Keeps whether an instance answers.
    fn heard(&self, name: &str, problem: Option<String>) {
        let mut silent = self.silent.lock();
        match problem {
            Some(problem) => _ = silent.insert(name.to_owned(), problem),
            None => _ = silent.remove(name),
        }
    }

    fn client(&self, instance: Option<&str>) -> Client {
        let name = instance.unwrap_or(&self.default);
        let clients = self.clients.load();
        match clients.get(name) {
            Some(client) => client.clone(),
            None => {
                let known: Vec<&str> = clients.keys().map(String::as_str).collect();
                Err(match instance {
                    Some(_) => crate::lookup::unknown_instance(name, &known),
                    None => {
                        "no destination service instance is configured: add --destination-service".to_owned()
                    }
                })
            }
        }
    }

    /// Takes over what the source of a binding says now.
    fn rebind(&self, name: &str, text: Result<String, String>) {
        let client = text
            .and_then(|text| Binding::from_json(&text).map_err(|error| error.to_string()))
            .map(|binding| StoreClient::new(binding, self.http.clone()));
        if let Err(problem) = &client {
            tracing::warn!(
                instance = name,
                "the destination service instance cannot be used: {problem}"
            );
        }
        // Instances are read at the same time, so what another one has put in meanwhile must stay.
        self.clients.rcu(|clients| {
            let mut clients = BTreeMap::clone(clients);
            clients.insert(name.to_owned(), client.clone());
            clients
        });
        self.unread.send_if_modified(|unread| unread.remove(name));
    }

    /// Waits until the binding was read once. At a start the first look-ups come before it; a failure would be told as a
    /// change of every destination.
    async fn read(&self, name: &str) {
        let mut unread = self.unread.subscribe();
        let read = unread.wait_for(|unread| !unread.contains(name));
        // Longer than that, it is a failure to be told.
        let _ = tokio::time::timeout(READING, read).await;
    }

    fn change(&self, instance: &str, names: Option<Vec<String>>) -> StoreChange {
        StoreChange {
            instance: (instance != self.default).then(|| instance.to_owned()),
            names,
        }
    }
}

impl Lookups for Stores {
    async fn find(&self, selector: DestinationSelector, known: Option<String>) -> Result<Answer, Failure> {
        let name = selector.instance.clone().unwrap_or_else(|| self.default.clone());
        self.read(&name).await;
        let client = self.client(selector.instance.as_deref()).map_err(Failure)?;
        let answer = ask(&client, selector, known).await;
        self.heard(&name, answer.as_ref().err().map(ToString::to_string));
        answer
    }
}

/// Follows the binding of one instance, and its feed, until `shutdown`.
pub async fn follow(
    stores: Arc<Stores>,
    instance: Instance,
    context: SourceContext,
    news: mpsc::Sender<StoreNews>,
    shutdown: Shutdown,
) {
    let texts = source::watch(instance.source, context, &shutdown);
    tokio::select! {
        () = shutdown.started() => {}
        () = follow_bindings(&stores, &instance.name, texts, &news) => {}
    }
}

async fn follow_bindings(
    stores: &Stores,
    name: &str,
    mut texts: watch::Receiver<Option<Result<Arc<str>, String>>>,
    news: &mpsc::Sender<StoreNews>,
) {
    loop {
        let text = texts.borrow_and_update().clone();
        if let Some(text) = text {
            stores.rebind(name, text.map(|text| text.to_string()));
            let rebound = StoreNews::Rebound(stores.change(name, None));
            if news.send(rebound).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = texts.changed() => if changed.is_err() { return },
            () = follow_feed(stores, name, news) => return,
        }
    }
}

/// Destinations that have changed; none may be any of them.
fn named(change: FeedChange) -> Option<Vec<String>> {
    match change {
        FeedChange::Names(names) => Some(names),
        FeedChange::Reset => None,
    }
}

/// Reads the feed of a store over and over. Ends only when nobody listens any more.
async fn follow_feed(stores: &Stores, name: &str, news: &mpsc::Sender<StoreNews>) {
    let Ok(client) = stores.client(Some(name)) else {
        // Nothing to read until there is another binding.
        return std::future::pending().await;
    };
    let mut last = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = Instant::now();
        let error = match client.changes(last).await {
            Ok(mut feed) => {
                stores.heard(name, None);
                loop {
                    let event = match feed.next().await {
                        Ok(event) => event,
                        Err(error) => break error,
                    };
                    pause = FIRST_PAUSE;
                    last = event.id.or(last);
                    let names = named(event.change);
                    let changed = StoreNews::Changed(stores.change(name, names));
                    if news.send(changed).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                // One that has no feed answers all the same.
                let problem = (error != FeedError::Unsupported).then(|| error.to_string());
                stores.heard(name, problem);
                error
            }
        };
        if error == FeedError::Unsupported {
            tracing::info!(instance = name, "{error}");
            tokio::time::sleep(NO_FEED).await;
            continue;
        }
        tracing::debug!(instance = name, "{error}");
        // One that was quiet for long is no failing one.
        if opened.elapsed() >= LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        // 75 % to 125 %, so that the replicas do not come back in step.
        tokio::time::sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests;
