//! The table of pods. Pure: what was seen goes in, what changed comes out.
//!
//! A pod costs about 300 bytes: its name once, its account and namespace shared by all that have the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::pod::SlimPod;
use super::{Caller, ProxyAccount, ProxyPod, Seen};
use crate::serve::reports::PodId;

/// What is different.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Addresses that have another owner now, or none.
    pub(super) addresses: Vec<(IpAddr, Option<Caller>)>,
    /// Proxies' pods that are no more.
    pub(super) gone: Vec<PodId>,
    /// Whether the list of proxies is another one.
    pub(super) proxies: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PodName {
    namespace: Arc<str>,
    name: Box<str>,
}

#[derive(Debug)]
struct Pod {
    name: Arc<PodName>,
    service_account: Arc<str>,
    /// Addresses that are its own; none for one that has ended or is of the host's network.
    addresses: [Option<IpAddr>; 2],
    /// Seconds since 1970; decides who owns an address that two pods name.
    created: i64,
    /// Which watch it is from, and the list that named it last.
    source: u32,
    list: u32,
}

/// State of one watch.
#[derive(Debug, Clone, Copy, Default)]
struct Source {
    list: u32,
    listing: bool,
    listed: bool,
}

/// The pods that name an address. Nearly always one; several while an ended pod's address is given to the next.
#[derive(Debug)]
enum Holders {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Debug)]
pub(super) struct Table {
    sources: Vec<Source>,
    accounts: HashSet<ProxyAccount>,
    pods: Vec<Option<Pod>>,
    free: Vec<u32>,
    ids: HashMap<Arc<PodName>, u32>,
    addresses: HashMap<IpAddr, Holders>,
    proxies: BTreeMap<(Arc<str>, Box<str>), ProxyPod>,
    texts: HashSet<Arc<str>>,
}

impl Table {
    pub(super) fn new(watches: usize, accounts: Vec<ProxyAccount>) -> Self {
        Self {
            sources: vec![Source::default(); watches],
            accounts: accounts.into_iter().collect(),
            pods: Vec::new(),
            free: Vec::new(),
            ids: HashMap::new(),
            addresses: HashMap::new(),
            proxies: BTreeMap::new(),
            texts: HashSet::new(),
        }
    }

    pub(super) fn take(&mut self, source: usize, seen: Seen) -> Changes {
        let mut changes = Changes::default();
        match seen {
            Seen::Restarted => {
                if let Some(source) = self.sources.get_mut(source) {
                    source.list = source.list.wrapping_add(1);
                    source.listing = true;
                }
            }
            Seen::Present(pod) => self.present(source, &pod, &mut changes),
            // It owns no address: unknown callers are refused, which is the safe side.
            Seen::Unreadable(pod) => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                tracing::warn!(namespace, name, error = pod.error, "a pod cannot be read");
                self.gone(namespace, name, &mut changes);
            }
            Seen::Gone { namespace, name } => self.gone(&namespace, &name, &mut changes),
            Seen::Listed => self.listed(source, &mut changes),
        }
        changes
    }

    fn present(&mut self, source: usize, pod: &SlimPod, changes: &mut Changes) {
        let (Some(name), Some(namespace)) = (&pod.metadata.name, &pod.metadata.namespace) else {
            return;
        };
        let namespace = self.text(namespace);
        self.put_proxy(&namespace, name, pod, changes);
        let owns = !pod.spec.host_network && !pod.has_ended();
        let created = pod.metadata.creation_timestamp.as_ref();
        let next = Pod {
            name: Arc::new(PodName {
                namespace,
                name: name.as_str().into(),
            }),
            service_account: self.text(&pod.spec.service_account_name),
            addresses: if owns { pod.addresses() } else { [None, None] },
            created: created.map_or(0, |time| time.0.as_second()),
            source: u32::try_from(source).unwrap_or(u32::MAX),
            list: self.sources.get(source).map_or(0, |source| source.list),
        };
        self.put_pod(next, changes);
    }

    fn put_pod(&mut self, mut next: Pod, changes: &mut Changes) {
        let known = self.ids.get_key_value(&next.name);
        let known = known.map(|(name, id)| (Arc::clone(name), *id));
        let (id, before) = match known {
            Some((name, id)) => {
                // One name, one allocation: the old one stays.
                next.name = name;
                let old = self.pods.get(id as usize).and_then(Option::as_ref);
                (id, old.map_or([None, None], |old| old.addresses))
            }
            None => (self.new_id(), [None, None]),
        };
        let touched = union(before, next.addresses);
        let owners: Vec<_> = touched.iter().map(|address| self.caller(*address)).collect();
        for address in before.into_iter().flatten() {
            self.release(address, id);
        }
        for address in next.addresses.into_iter().flatten() {
            self.hold(address, id);
        }
        self.ids.insert(Arc::clone(&next.name), id);
        if let Some(slot) = self.slot(id) {
            *slot = Some(next);
        }
        self.compare(touched, owners, changes);
    }

    fn gone(&mut self, namespace: &str, name: &str, changes: &mut Changes) {
        let key = PodName {
            namespace: Arc::from(namespace),
            name: name.into(),
        };
        if let Some(id) = self.ids.get(&key).copied() {
            self.remove(id, changes);
        }
    }

    fn remove(&mut self, id: u32, changes: &mut Changes) {
        let Some(pod) = self.pods.get(id as usize).and_then(Option::as_ref) else {
            return;
        };
        let (name, addresses) = (Arc::clone(&pod.name), pod.addresses);
        let touched = union(addresses, [None, None]);
        let owners: Vec<_> = touched.iter().map(|address| self.caller(*address)).collect();
        if let Some(slot) = self.slot(id) {
            *slot = None;
        }
        self.free.push(id);
        self.ids.remove(&name);
        for address in &touched {
            self.release(*address, id);
        }
        self.compare(touched, owners, changes);
        let proxy = (Arc::clone(&name.namespace), name.name.clone());
        if let Some(proxy) = self.proxies.remove(&proxy) {
            changes.gone.push(proxy.id);
            changes.proxies = true;
        }
    }

    fn listed(&mut self, source: usize, changes: &mut Changes) {
        let Some(state) = self.sources.get_mut(source) else {
            return;
        };
        if !std::mem::take(&mut state.listing) {
            return;
        }
        state.listed = true;
        let list = state.list;
        let stale = |pod: &Pod| pod.source as usize == source && pod.list != list;
        let stale: Vec<u32> = (0u32..)
            .zip(&self.pods)
            .filter(|(_, pod)| pod.as_ref().is_some_and(stale))
            .map(|(id, _)| id)
            .collect();
        for id in stale {
            self.remove(id, changes);
        }
        self.texts.retain(|text| Arc::strong_count(text) > 1);
    }

    fn put_proxy(&mut self, namespace: &Arc<str>, name: &str, pod: &SlimPod, changes: &mut Changes) {
        let key = (Arc::clone(namespace), Box::from(name));
        let account = ProxyAccount {
            namespace: namespace.to_string(),
            service_account: pod.spec.service_account_name.clone(),
        };
        let next = (self.accounts.contains(&account) && !pod.has_ended()).then(|| ProxyPod {
            id: PodId {
                namespace: account.namespace,
                name: name.to_owned(),
                uid: pod.metadata.uid.clone().unwrap_or_default(),
            },
            addresses: pod.addresses().into_iter().flatten().collect(),
            ready: pod.is_ready(),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            node: pod.spec.node_name.clone(),
        });
        let before = match &next {
            Some(next) => self.proxies.insert(key, next.clone()),
            None => self.proxies.remove(&key),
        };
        changes.proxies |= before != next;
        let uid = next.map(|next| next.id.uid);
        changes.gone.extend(
            before
                .map(|before| before.id)
                .filter(|id| Some(&id.uid) != uid.as_ref()),
        );
    }

    /// Who owns an address: of the pods that name it the newest.
    pub(super) fn caller(&self, address: IpAddr) -> Option<Caller> {
        let pod = |id: &u32| self.pods.get(*id as usize).and_then(Option::as_ref);
        let owner = match self.addresses.get(&address)? {
            Holders::One(id) => pod(id),
            Holders::Many(ids) => ids
                .iter()
                .filter_map(pod)
                .max_by(|a, b| (a.created, &a.name.name).cmp(&(b.created, &b.name.name))),
        }?;
        Some(Caller {
            namespace: Arc::clone(&owner.name.namespace),
            service_account: Arc::clone(&owner.service_account),
        })
    }

    pub(super) fn proxies(&self) -> Vec<ProxyPod> {
        self.proxies.values().cloned().collect()
    }

    pub(super) fn is_listed(&self) -> bool {
        self.sources.iter().all(|source| source.listed)
    }

    pub(super) fn size(&self) -> (usize, usize) {
        (self.ids.len(), self.addresses.len())
    }

    fn compare(&self, touched: Vec<IpAddr>, owners: Vec<Option<Caller>>, changes: &mut Changes) {
        for (address, before) in touched.into_iter().zip(owners) {
            let now = self.caller(address);
            if now != before {
                changes.addresses.push((address, now));
            }
        }
    }

    fn hold(&mut self, address: IpAddr, id: u32) {
        match self.addresses.get_mut(&address) {
            None => {
                self.addresses.insert(address, Holders::One(id));
            }
            Some(Holders::Many(ids)) => ids.push(id),
            Some(holders @ Holders::One(_)) => {
                if let Holders::One(other) = *holders {
                    *holders = Holders::Many(vec![other, id]);
                }
            }
        }
    }

    fn release(&mut self, address: IpAddr, id: u32) {
        match self.addresses.get_mut(&address) {
            Some(Holders::One(holder)) if *holder == id => {
                self.addresses.remove(&address);
            }
            Some(holders @ Holders::Many(_)) => {
                if let Holders::Many(ids) = holders {
                    ids.retain(|holder| *holder != id);
                    if let [last] = ids[..] {
                        *holders = Holders::One(last);
                    }
                }
            }
            _ => {}
        }
    }

    fn slot(&mut self, id: u32) -> Option<&mut Option<Pod>> {
        self.pods.get_mut(id as usize)
    }

    fn new_id(&mut self) -> u32 {
        if let Some(id) = self.free.pop() {
            return id;
        }
        self.pods.push(None);
        u32::try_from(self.pods.len() - 1).unwrap_or(u32::MAX)
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = Arc::from(text);
        self.texts.insert(Arc::clone(&text));
        text
    }
}

fn union(a: [Option<IpAddr>; 2], b: [Option<IpAddr>; 2]) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = a.into_iter().chain(b).flatten().collect();
    all.sort_unstable();
    all.dedup();
    all
}
