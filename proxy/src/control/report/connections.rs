//! What connectors do at this proxy: which are connected, and which service channels they hold.

use std::sync::Arc;
use std::time::Duration;

use landbridge_tunnel::Registry;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::channels::{ChannelStates, ServiceChannels};

/// Most location ids that are told; the operator takes no more.
const MAX_LOCATIONS: usize = 256;

/// After a restart many connectors come at once: they are told together.
const GATHER: Duration = Duration::from_millis(100);

/// Both, and when they change. Nothing where no connectors are taken.
pub(in crate::control) struct Connections {
    tunnels: Option<Registry>,
    tunnels_changed: Option<watch::Receiver<u64>>,
    channels: Option<ServiceChannels>,
    channels_changed: Option<watch::Receiver<u64>>,
    /// Worked out when they changed last.
    states: ChannelStates,
}

impl Connections {
    pub(in crate::control) fn new(tunnels: Option<Registry>, channels: Option<ServiceChannels>) -> Self {
        let changed = |mut receiver: watch::Receiver<u64>| {
            receiver.mark_changed();
            receiver
        };
        Self {
            tunnels_changed: tunnels.as_ref().map(Registry::changed),
            channels_changed: channels.as_ref().map(ServiceChannels::changed).map(changed),
            tunnels,
            channels,
            states: ChannelStates::default(),
        }
    }

    /// Location ids of the connected connectors; none where no connectors are taken.
    pub(super) fn locations(&mut self) -> Option<Vec<String>> {
        if let Some(changed) = &mut self.tunnels_changed {
            changed.mark_unchanged();
        }
        let tunnels = self.tunnels.as_ref()?;
        let mut locations = tunnels.locations();
        locations.truncate(MAX_LOCATIONS);
        Some(locations)
    }

    /// The service channels that are offered here, and who holds them.
    pub(super) fn channels(&mut self) -> ChannelStates {
        if let (Some(channels), Some(changed)) = (&self.channels, &mut self.channels_changed)
            && changed.has_changed().unwrap_or(true)
        {
            changed.mark_unchanged();
            self.states = channels.states();
        }
        Arc::clone(&self.states)
    }

    /// Ends when something has changed.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = next(&mut self.tunnels_changed) => {}
            () = next(&mut self.channels_changed) => {
                // What was seen here has still to be worked out.
                if let Some(changed) = &mut self.channels_changed {
                    changed.mark_changed();
                }
                sleep(GATHER).await;
            }
        }
    }
}

async fn next(changed: &mut Option<watch::Receiver<u64>>) {
    if let Some(changed) = changed
        && changed.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn who_takes_no_connectors_waits_for_none() {
        let mut none = Connections::new(None, None);
        assert_eq!(none.locations(), None);
        assert!(none.channels().is_empty());
        assert!(timeout(Duration::from_millis(1), none.changed()).await.is_err());
        let mut some = Connections::new(Some(Registry::default()), None);
        assert_eq!(some.locations(), Some(Vec::new()));
        assert!(timeout(Duration::from_millis(1), some.changed()).await.is_err());
    }
}
