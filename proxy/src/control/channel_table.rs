//! The service channels as the operator has told them so far. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use landbridge_destination::channel::{Channel, ChannelKey};

/// All channels, in the order of their keys.
pub(super) type ChannelList = Arc<Vec<Arc<Channel>>>;

/// The channels as they are now.
#[derive(Debug, Default)]
pub(super) struct ChannelTable {
    channels: BTreeMap<ChannelKey, Arc<Channel>>,
}

impl ChannelTable {
    /// From now on exactly these; the list if anything differs.
    pub(super) fn replace(&mut self, channels: Vec<Channel>) -> Option<ChannelList> {
        let before = std::mem::take(&mut self.channels);
        let mut same = true;
        for channel in channels {
            // What is the same is shared with the list before.
            let known = before.get(&channel.key).filter(|known| ***known == channel);
            same &= known.is_some();
            let channel = known.cloned().unwrap_or_else(|| Arc::new(channel));
            self.channels.insert(channel.key.clone(), channel);
        }
        same &= before.len() == self.channels.len();
        (!same).then(|| self.list())
    }

    /// A change; the list if it is one of channels.
    pub(super) fn change(&mut self, changed: Vec<Channel>, removed: &[ChannelKey]) -> Option<ChannelList> {
        if changed.is_empty() && removed.is_empty() {
            return None;
        }
        for key in removed {
            self.channels.remove(key);
        }
        for channel in changed {
            self.channels.insert(channel.key.clone(), Arc::new(channel));
        }
        Some(self.list())
    }

    fn list(&self) -> ChannelList {
        Arc::new(self.channels.values().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_destination::channel::ChannelKind;

    fn channel(name: &str, port: u16) -> Channel {
        Channel {
            key: key(name),
            kind: ChannelKind::Tcp,
            service_id: name.into(),
            subaccount: None,
            tenant: None,
            location_ids: vec![String::new()],
            address: format!("{name}.shop.svc:{port}"),
            connector: None,
            generation: 1,
        }
    }

    fn key(name: &str) -> ChannelKey {
        ChannelKey {
            namespace: Some("shop".into()),
            name: name.into(),
        }
    }

    fn addresses(list: &ChannelList) -> Vec<&str> {
        list.iter().map(|channel| channel.address.as_str()).collect()
    }

    #[test]
    fn snapshots_and_changes_add_up() {
        let mut table = ChannelTable::default();
        assert_eq!(table.replace(Vec::new()), None, "there were none before");
        let first = table.replace(vec![channel("b", 1), channel("a", 1)]).unwrap();
        assert_eq!(addresses(&first), ["a.shop.svc:1", "b.shop.svc:1"]);
        assert_eq!(table.replace(vec![channel("a", 1), channel("b", 1)]), None);
        assert_eq!(table.change(Vec::new(), &[]), None);
        let second = table
            .change(vec![channel("c", 1), channel("a", 2)], &[key("b")])
            .unwrap();
        assert_eq!(addresses(&second), ["a.shop.svc:2", "c.shop.svc:1"]);
        let third = table.replace(vec![channel("c", 1)]).unwrap();
        assert!(
            Arc::ptr_eq(&third[0], &second[1]),
            "what stays the same is shared"
        );
        assert!(table.replace(Vec::new()).unwrap().is_empty());
    }
}
