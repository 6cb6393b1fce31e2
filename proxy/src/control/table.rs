//! What the operator has said so far, message by message. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use landbridge_destination::route::{Route, RouteKey, RouteSnapshot};

use super::error::ControlError;

/// The routes as they are now.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The operator's version, once there was a snapshot on this connection.
    version: Option<u64>,
    routes: BTreeMap<RouteKey, Arc<Route>>,
    /// Our own version: the operator's may fall when another replica takes over.
    published: u64,
}

impl Table {
    /// A new connection: the next message must be a snapshot.
    pub(super) fn disconnected(&mut self) {
        self.version = None;
    }

    /// From now on exactly these routes; a new snapshot if anything differs. The first one always does: that nothing
    /// is to be served is news, too.
    pub(super) fn replace(&mut self, version: u64, routes: Vec<Route>) -> Option<Arc<RouteSnapshot>> {
        self.version = Some(version);
        let before = std::mem::take(&mut self.routes);
        let mut same = self.published > 0;
        for route in routes {
            // What is the same is shared with the snapshot before.
            let known = before.get(&route.key).filter(|known| ***known == route);
            same &= known.is_some();
            let route = known.cloned().unwrap_or_else(|| Arc::new(route));
            self.routes.insert(route.key.clone(), route);
        }
        same &= before.len() == self.routes.len();
        (!same).then(|| self.publish())
    }

    /// A change; a new snapshot if it is one of routes.
    ///
    /// Versions grow with every change, but not one by one: changes may come together. What does not grow is not in
    /// order.
    ///
    /// # Errors
    /// It does not follow on what is known.
    pub(super) fn change(
        &mut self,
        version: u64,
        changed: Vec<Route>,
        removed: &[RouteKey],
    ) -> Result<Option<Arc<RouteSnapshot>>, ControlError> {
        match self.version {
            Some(known) if known < version => self.version = Some(version),
            known => {
                return Err(ControlError::OutOfStep {
                    known: known.unwrap_or_default(),
                    found: version,
                });
            }
        }
        if changed.is_empty() && removed.is_empty() {
            return Ok(None);
        }
        for key in removed {
            self.routes.remove(key);
        }
        for route in changed {
            self.routes.insert(route.key.clone(), Arc::new(route));
        }
        Ok(Some(self.publish()))
    }

    fn publish(&mut self) -> Arc<RouteSnapshot> {
        self.published += 1;
        Arc::new(RouteSnapshot::new(
            self.published,
            self.routes.values().cloned().collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_destination::route::{RouteProtocol, Scope};
    use landbridge_destination::selector::DestinationSelector;

    fn route(name: &str, port: u16) -> Route {
        Route {
            key: RouteKey::new("shop", name),
            selector: DestinationSelector::named(name),
            protocol: RouteProtocol::Http,
            port,
            scope: Scope::ClusterWide,
            generation: 1,
            frontends: Vec::new(),
        }
    }

    fn ports(snapshot: &RouteSnapshot) -> Vec<(&str, u16)> {
        snapshot
            .routes
            .iter()
            .map(|route| (route.key.name.as_str(), route.port))
            .collect()
    }

    #[test]
    fn snapshots_and_changes_add_up() {
        let mut table = Table::default();
        let first = table.replace(4096, Vec::new()).unwrap();
        assert_eq!(
            (first.version, ports(&first)),
            (1, vec![]),
            "nothing is news at first"
        );
        assert_eq!(table.replace(4096, Vec::new()), None);
        let second = table.replace(4097, vec![route("b", 2), route("a", 1)]).unwrap();
        assert_eq!(ports(&second), [("a", 1), ("b", 2)]);
        let changed = table
            .change(
                4107,
                vec![route("c", 3), route("a", 9)],
                &[RouteKey::new("shop", "b")],
            )
            .unwrap()
            .unwrap();
        assert_eq!((changed.version, ports(&changed)), (3, vec![("a", 9), ("c", 3)]));
        assert_eq!(
            table.change(4108, Vec::new(), &[]).unwrap(),
            None,
            "a change of something else"
        );
    }

    #[test]
    fn what_stays_the_same_is_shared_whoever_says_it() {
        let mut table = Table::default();
        let first = table.replace(50, vec![route("a", 1), route("b", 2)]).unwrap();
        table.disconnected();
        assert_eq!(table.replace(7, vec![route("b", 2), route("a", 1)]), None);
        let second = table.replace(8, vec![route("b", 2), route("a", 3)]).unwrap();
        assert!(
            second.version > first.version,
            "another replica's version may be lower"
        );
        let b = RouteKey::new("shop", "b");
        assert!(Arc::ptr_eq(first.get(&b).unwrap(), second.get(&b).unwrap()));
    }

    #[test]
    fn a_change_must_follow_on_what_is_known() {
        let mut table = Table::default();
        let out_of_step =
            |result: Result<_, ControlError>| matches!(result, Err(ControlError::OutOfStep { .. }));
        assert!(
            out_of_step(table.change(1, vec![route("a", 1)], &[])),
            "before any snapshot"
        );
        table.replace(10, vec![route("a", 1)]);
        for version in [9, 10] {
            assert!(
                out_of_step(table.change(version, vec![route("a", 2)], &[])),
                "{version}"
            );
        }
        assert!(table.change(11, vec![route("a", 2)], &[]).is_ok());
        table.disconnected();
        assert!(
            out_of_step(table.change(12, vec![route("a", 3)], &[])),
            "a new connection begins anew"
        );
    }
}
