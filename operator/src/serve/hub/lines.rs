//! The lines of a stream: written once, shared by all subscribers that are told the same.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use landbridge_destination::RouteKey;
use landbridge_destination::channel::ChannelKey;
use landbridge_destination::serve::{MAX_MESSAGE_BYTES, Message, StoreChange};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Audience;
use crate::workloads::Caller;

/// Size at which a message is continued in a further delta: half of what readers take, so that estimates may be rough.
const PART_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// Recent messages that may be asked for again. Subscribers are of few kinds and mostly at the same version.
const KEPT: usize = 16;

/// Bytes of a workload's line beside its names: field names, punctuation and an IPv6 address.
const WORKLOAD_BYTES: usize = 96;

/// The latest line as text: a version, and entries that were written before.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed_routes: Vec<&'a RouteKey>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed_channels: Vec<&'a ChannelKey>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    workloads: Vec<WorkloadOut<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed_workloads: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<SocketAddr>,
    #[serde(skip)]
    bytes: usize,
    #[serde(skip)]
    entries: usize,
}

/// [`landbridge_destination::serve::Workload`] with shared texts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadOut<'a> {
    address: IpAddr,
    namespace: &'a str,
    service_account: &'a str,
}

/// Gathers a snapshot or a delta, in as many lines as its size needs.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    version: u64,
    done: Vec<Part<'a>>,
    current: Part<'a>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(version: u64, whole: bool, leader: Option<SocketAddr>) -> Self {
        let current = Part {
            kind: if whole { "snapshot" } else { "delta" },
            leader: leader.filter(|_| whole),
            ..Part::default()
        };
        Self {
            version,
            done: Vec::new(),
            current,
        }
    }

    pub(super) fn route(&mut self, json: &'a RawValue) {
        self.room(json.get().len()).routes.push(json);
    }

    pub(super) fn removed_route(&mut self, key: &'a RouteKey) {
        let bytes = key.namespace.len() + key.name.len() + 32;
        self.room(bytes).removed_routes.push(key);
    }

    pub(super) fn channel(&mut self, json: &'a RawValue) {
        self.room(json.get().len()).channels.push(json);
    }

    pub(super) fn removed_channel(&mut self, key: &'a ChannelKey) {
        let bytes = key.namespace.as_ref().map_or(0, String::len) + key.name.len() + 32;
        self.room(bytes).removed_channels.push(key);
    }

    pub(super) fn workload(&mut self, address: IpAddr, caller: &'a Caller) {
        let bytes = WORKLOAD_BYTES + caller.namespace.len() + caller.service_account.len();
        self.room(bytes).workloads.push(WorkloadOut {
            address,
            namespace: &caller.namespace,
            service_account: &caller.service_account,
        });
    }

    pub(super) fn removed_workload(&mut self, address: IpAddr) {
        self.room(48).removed_workloads.push(address);
    }

    /// Counts one entry; a full part is put away first.
    fn room(&mut self, bytes: usize) -> &mut Part<'a> {
        if self.current.entries > 0 && self.current.bytes + bytes > PART_BYTES {
            let next = Part {
                kind: "delta",
                ..Part::default()
            };
            self.done.push(std::mem::replace(&mut self.current, next));
        }
        self.current.bytes += bytes + 1;
        self.current.entries += 1;
        &mut self.current
    }

    /// The lines. None when a delta has nothing in it; a snapshot is told even when it is empty.
    ///
    /// The last part has the version itself and those before it the ones below: there are fewer parts than changes.
    pub(super) fn finish(mut self) -> Vec<Arc<Vec<u8>>> {
        if self.current.kind == "delta" && self.current.entries == 0 {
            return Vec::new();
        }
        self.done.push(self.current);
        let first = self.version + 1 - self.done.len() as u64;
        let parts = self.done.into_iter().zip(first..);
        parts
            .filter_map(|(mut part, version)| {
                part.version = version;
                line(&part, part.bytes + 256).map(Arc::new)
            })
            .collect()
    }
}

/// [`Message::Leader`].
pub(super) fn leader(address: Option<SocketAddr>) -> Option<Bytes> {
    line(&Message::Leader { address }, 64).map(Bytes::from)
}

/// [`Message::StoreChanged`].
pub(super) fn store_changed(change: StoreChange) -> Option<Bytes> {
    line(&Message::StoreChanged(change), 128).map(Bytes::from)
}

fn line(message: &impl Serialize, bytes: usize) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(bytes);
    match serde_json::to_writer(&mut line, message) {
        Ok(()) => {
            line.push(b'\n');
            Some(line)
        }
        Err(error) => {
            tracing::error!(%error, "a message to proxies cannot be written; please report this");
            None
        }
    }
}

/// Messages that somebody is still sending, so that others are given the same bytes. They are held by those who send
/// them and not by this table, so that an idle operator holds no snapshot.
#[derive(Debug, Default)]
pub(super) struct Shared {
    recent: VecDeque<Recent>,
}

#[derive(Debug)]
struct Recent {
    audience: Audience,
    from: Option<u64>,
    to: u64,
    lines: Vec<Weak<Vec<u8>>>,
}

/// Bytes of a line that others may hold too.
struct Held(Arc<Vec<u8>>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Shared {
    pub(super) fn get(&self, audience: &Audience, from: Option<u64>, to: u64) -> Option<Vec<Bytes>> {
        let found = self
            .recent
            .iter()
            .find(|recent| recent.to == to && recent.from == from && recent.audience == *audience)?;
        let lines = found.lines.iter().map(|line| line.upgrade().map(bytes_of));
        lines.collect()
    }

    pub(super) fn put(
        &mut self,
        audience: Audience,
        from: Option<u64>,
        to: u64,
        lines: Vec<Arc<Vec<u8>>>,
    ) -> Vec<Bytes> {
        self.recent
            .retain(|recent| recent.to == to && recent.lines.iter().all(|line| line.strong_count() > 0));
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent {
            audience,
            from,
            to,
            lines: lines.iter().map(Arc::downgrade).collect(),
        });
        lines.into_iter().map(bytes_of).collect()
    }

    pub(super) fn clear(&mut self) {
        self.recent.clear();
    }
}

fn bytes_of(line: Arc<Vec<u8>>) -> Bytes {
    Bytes::from_owner(Held(line))
}
