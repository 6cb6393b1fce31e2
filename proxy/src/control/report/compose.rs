//! Works out reports. Pure.

use landbridge_destination::serve::{ChannelReport, Report, RouteReport};

use crate::channels::ChannelStates;
use crate::gateway::RouteStates;

/// What there is to tell.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) routes: RouteStates,
    pub(super) channels: ChannelStates,
    /// Locations of connected connectors; none where no connectors are taken.
    pub(super) locations: Option<Vec<String>>,
}

/// Works out what to tell next.
#[derive(Debug)]
pub(super) struct Reports {
    process: u64,
    sequence: u64,
    /// What the leader has taken; `None`: it has to hear everything.
    taken: Option<Served>,
}

impl Reports {
    pub(super) fn new(process: u64) -> Self {
        Self {
            process,
            sequence: 0,
            taken: None,
        }
    }

    /// The next report: what differs from what was taken, or everything.
    pub(super) fn next(&mut self, served: &Served, draining: bool) -> Report {
        self.sequence += 1;
        let known = self.taken.as_ref();
        let routes = known.map(|known| &*known.routes);
        let channels = known.map(|known| &*known.channels);
        let changed = served
            .routes
            .iter()
            .filter(|(key, state)| routes.is_none_or(|known| known.get(*key) != Some(*state)));
        let held = served
            .channels
            .iter()
            .filter(|(key, locations)| channels.is_none_or(|known| known.get(*key) != Some(*locations)));
        let gone = routes.into_iter().flat_map(|known| known.keys());
        let closed = channels.into_iter().flat_map(|known| known.keys());
        Report {
            process: self.process,
            sequence: self.sequence,
            whole: known.is_none(),
            routes: changed
                .map(|(key, state)| RouteReport {
                    key: key.clone(),
                    state: state.clone(),
                })
                .collect(),
            removed_routes: gone
                .filter(|key| !served.routes.contains_key(*key))
                .cloned()
                .collect(),
            channels: held
                .map(|(key, locations)| ChannelReport {
                    key: key.clone(),
                    locations: locations.clone(),
                })
                .collect(),
            removed_channels: closed
                .filter(|key| !served.channels.contains_key(*key))
                .cloned()
                .collect(),
            locations: served.locations.clone(),
            draining,
        }
    }

    /// The leader has taken it.
    pub(super) fn taken(&mut self, served: Served) {
        self.taken = Some(served);
    }

    /// What the leader knows is not known: it may be another one, or an answer was lost.
    pub(super) fn unknown(&mut self) {
        self.taken = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap};
    use std::net::SocketAddr;
    use std::sync::Arc;

    use landbridge_destination::channel::ChannelKey;
    use landbridge_destination::route::{RouteKey, RouteState};

    fn served(routes: &[(&str, u16)], channels: &[(&str, &[&str])]) -> Served {
        let listening = |port: u16| RouteState::Listening(SocketAddr::from(([0, 0, 0, 0], port)));
        let routes = routes
            .iter()
            .map(|(name, port)| (RouteKey::new("shop", *name), listening(*port)));
        let channels = channels.iter().map(|(name, locations)| {
            let locations = locations.iter().map(|id| (*id).to_owned()).collect();
            (channel(name), locations)
        });
        Served {
            routes: Arc::new(routes.collect::<HashMap<_, _>>()),
            channels: Arc::new(channels.collect::<BTreeMap<_, _>>()),
            locations: None,
        }
    }

    fn channel(name: &str) -> ChannelKey {
        ChannelKey {
            namespace: None,
            name: name.into(),
        }
    }

    fn said(report: &Report) -> (u64, bool, Vec<&str>, Vec<&str>) {
        let mut routes: Vec<&str> = report
            .routes
            .iter()
            .map(|route| route.key.name.as_str())
            .collect();
        routes.sort_unstable();
        let removed = report.removed_routes.iter().map(|key| key.name.as_str());
        (report.sequence, report.whole, routes, removed.collect())
    }

    #[test]
    fn everything_first_then_what_differs_from_what_was_taken() {
        let mut reports = Reports::new(7);
        let (one, two) = (
            served(&[("a", 1), ("b", 2)], &[]),
            served(&[("a", 9), ("c", 3)], &[]),
        );
        let first = reports.next(&one, false);
        assert_eq!(
            (said(&first), first.process),
            ((1, true, vec!["a", "b"], vec![]), 7)
        );
        // Not taken, so everything again, under the next number.
        assert_eq!(
            said(&reports.next(&one, false)),
            (2, true, vec!["a", "b"], vec![])
        );
        reports.taken(one.clone());
        assert_eq!(
            said(&reports.next(&one, false)),
            (3, false, vec![], vec![]),
            "still so"
        );
        reports.taken(one);
        let changed = reports.next(&two, true);
        assert_eq!(said(&changed), (4, false, vec!["a", "c"], vec!["b"]));
        assert!(changed.draining);
        reports.unknown();
        assert_eq!(
            said(&reports.next(&two, false)),
            (5, true, vec!["a", "c"], vec![])
        );
    }

    #[test]
    fn holders_of_channels_are_told_in_the_same_way() {
        let mut reports = Reports::new(7);
        let one = served(&[], &[("web", &[]), ("db", &["hq"])]);
        let first = reports.next(&one, false);
        let told = |report: &Report| -> Vec<(String, Vec<String>)> {
            let channels = report.channels.iter();
            channels
                .map(|one| (one.key.name.clone(), one.locations.clone()))
                .collect()
        };
        let of = |name: &str, locations: &[&str]| {
            let locations = locations.iter().map(|id| (*id).to_owned()).collect();
            (name.to_owned(), locations)
        };
        assert_eq!(told(&first), [of("db", &["hq"]), of("web", &[])]);
        reports.taken(one);
        let two = served(&[], &[("web", &["", "hq"])]);
        let second = reports.next(&two, false);
        assert_eq!(told(&second), [of("web", &["", "hq"])]);
        assert_eq!(second.removed_channels, [channel("db")]);
        reports.taken(two.clone());
        let third = reports.next(&two, false);
        assert!(third.channels.is_empty() && third.removed_channels.is_empty() && !third.whole);
    }

    #[test]
    fn every_report_names_the_connectors() {
        let mut reports = Reports::new(7);
        let one = Served {
            locations: Some(vec!["hq".to_owned()]),
            ..served(&[("a", 1)], &[])
        };
        assert_eq!(reports.next(&one, false).locations, one.locations);
        reports.taken(one.clone());
        let delta = reports.next(&one, false);
        assert_eq!((delta.whole, delta.locations), (false, one.locations));
    }
}
