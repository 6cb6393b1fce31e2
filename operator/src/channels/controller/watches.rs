//! What is watched, and what its words mean.

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::runtime::watcher;
use landbridge_crds::{ServiceChannel, ServiceMapping};
use landbridge_destination::channel::ChannelKey;
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;

use super::relist::Relist;
use super::{Config, Links};
use crate::channels::Declared;
use crate::cluster::model::SeenNamespace;
use crate::cluster::watch::{Seen, Sink, follow};

/// Starts all that `config` asks for, and that of namespaces where they are chosen by label.
pub(super) fn start(
    config: &Config,
    by_label: bool,
    links: &Links,
    sender: &mpsc::Sender<Message>,
    shutdown: &Shutdown,
) {
    let client = &config.client;
    let sink = |kind: &str| Sink {
        queue: sender.clone(),
        metrics: links.operator.clone(),
        recorder: links.recorder.clone(),
        ready: links.readiness.token(format!("list of {kind}")),
    };
    let channels = match &config.namespace {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    };
    let services = match &config.namespace {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    };
    let all = watcher::Config::default;
    shutdown.spawn(follow(
        channels,
        all(),
        Message::Channel,
        sink("ServiceChannel"),
        shutdown.clone(),
    ));
    shutdown.spawn(follow(
        services,
        all(),
        Message::Service,
        sink("Service"),
        shutdown.clone(),
    ));
    if by_label {
        shutdown.spawn(follow(
            Api::all(client.clone()),
            all(),
            Message::Namespace,
            sink("Namespace"),
            shutdown.clone(),
        ));
    }
    if config.mappings {
        let mappings = Api::all(client.clone());
        shutdown.spawn(follow(
            mappings,
            all(),
            Message::Mapping,
            sink("ServiceMapping"),
            shutdown.clone(),
        ));
    }
}

/// What was seen.
pub(super) enum Message {
    Channel(Seen<ServiceChannel>),
    Mapping(Seen<ServiceMapping>),
    Service(Seen<Service>),
    Namespace(SeenNamespace),
}

/// What a watch says, with lists turned into what they leave out.
pub(super) enum Change {
    Nothing,
    Present(Box<Declared>),
    Gone(Vec<ChannelKey>),
}

pub(super) fn change<K>(
    seen: Seen<K>,
    namespaced: bool,
    list: &mut Relist<ChannelKey>,
    read: fn(&K) -> Declared,
) -> Change {
    let resource = match seen {
        Seen::Restarted => {
            list.restarted();
            return Change::Nothing;
        }
        Seen::Listed => return Change::Gone(list.listed()),
        Seen::Gone { namespace, name } => {
            let namespace = namespaced.then_some(namespace);
            let key = ChannelKey { namespace, name };
            list.gone(&key);
            return Change::Gone(vec![key]);
        }
        Seen::Present(object) => read(&object),
        Seen::Unreadable(object) => Declared::unreadable(namespaced, &object),
    };
    list.present(&resource.key);
    Change::Present(Box::new(resource))
}
