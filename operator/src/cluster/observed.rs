//! What was last seen of our objects in the cluster: not the objects, only whose they are and a number for their
//! content. So 10 000 destinations take a few megabytes.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use landbridge_destination::{RouteKey, RouteProtocol};

use super::children;

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its own uid.
    pub uid: String,
    /// Uid of the destination it belongs to; none for an object that is somebody else's.
    pub owner: Option<Box<str>>,
    /// Namespace of the installation that made it.
    pub installation: Option<Box<str>>,
    /// Stands for its content.
    pub shape: u64,
    /// Where a Service of ours leads.
    pub target: Option<(u16, RouteProtocol)>,
    /// Where workloads call a Service of ours.
    pub frontends: Box<[SocketAddr]>,
}

impl Observed {
    /// From a Service.
    pub fn service(service: &Service) -> Self {
        let owner: Option<Box<str>> = children::owner(&service.metadata).map(Box::from);
        let ours = owner.as_deref().map(|_| service);
        Self {
            uid: service.uid().unwrap_or_default(),
            target: ours.and_then(children::target),
            frontends: ours.map(children::frontends).unwrap_or_default().into(),
            owner,
            installation: children::installation(&service.metadata).map(Box::from),
            shape: children::service_shape(service),
        }
    }

    /// From an EndpointSlice.
    pub fn slice(slice: &EndpointSlice) -> Self {
        Self {
            uid: slice.uid().unwrap_or_default(),
            owner: children::owner(&slice.metadata).map(Box::from),
            installation: children::installation(&slice.metadata).map(Box::from),
            shape: children::slice_shape(slice),
            target: None,
            frontends: Box::default(),
        }
    }

    /// Whether this installation made it. Of several in one cluster, each looks after its own namespaces and ports.
    pub fn is_of(&self, installation: &str) -> bool {
        self.owner.is_some() && self.installation.as_deref() == Some(installation)
    }
}

/// Everything of one kind that is there. A list replaces what was known: what it does not name is gone.
#[derive(Debug)]
pub struct Known<K, V> {
    objects: HashMap<K, (u32, V)>,
    list: u32,
    listed: bool,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            list: 0,
            listed: false,
        }
    }
}

impl<K: Clone + Eq + Hash, V> Known<K, V> {
    /// A new list begins.
    pub fn restart(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// An object is there. Whether that is new.
    pub fn put(&mut self, key: K, value: V) -> bool
    where
        V: PartialEq,
    {
        let changed = self.get(&key) != Some(&value);
        self.set(key, value);
        changed
    }

    /// An object is there.
    pub fn set(&mut self, key: K, value: V) {
        self.objects.insert(key, (self.list, value));
    }

    /// An object is gone.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.objects.remove(key).map(|(_, value)| value)
    }

    /// An object is there, unchanged.
    pub fn touch(&mut self, key: &K) {
        if let Some(entry) = self.objects.get_mut(key) {
            entry.0 = self.list;
        }
    }

    /// What the list has not named so far.
    pub fn outdated(&self) -> Vec<K> {
        self.objects
            .iter()
            .filter(|(_, (list, _))| *list != self.list)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// The list is complete: returns what it did not name.
    pub fn complete(&mut self) -> Vec<K> {
        self.listed = true;
        let gone = self.outdated();
        for key in &gone {
            self.objects.remove(key);
        }
        gone
    }

    /// Whether a list was ever complete.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// One object.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.objects.get(key).map(|(_, value)| value)
    }

    /// One object, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.objects.get_mut(key).map(|(_, value)| value)
    }

    /// All of them, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.objects.values_mut().map(|(_, value)| value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.objects.iter().map(|(key, (_, value))| (key, value))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// EndpointSlices are known by destination and name.
pub type SliceKey = (RouteKey, String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_replaces_what_was_known() {
        let mut known: Known<&str, u8> = Known::default();
        known.restart();
        assert!(known.put("a", 1) && known.put("b", 1));
        assert!(!known.is_listed());
        assert!(known.complete().is_empty() && known.is_listed());
        assert!(!known.put("a", 1) && known.put("a", 2));
        known.restart();
        assert!(!known.put("b", 1), "seen again is no news");
        assert_eq!(known.complete(), ["a"]);
        assert_eq!(
            (known.len(), known.get(&"a"), known.get(&"b")),
            (1, None, Some(&1))
        );
        assert_eq!(known.remove(&"b"), Some(1));
        assert!(known.is_empty() && known.is_listed());
    }
}
