//! Whether the other end of a connection may use a route.
//!
//! The network policy of a namespaced destination says the same, but not every cluster's network enforces policies.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use landbridge_destination::route::{Route, Scope};
use landbridge_destination::serve::Workload;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::Workloads;
use crate::exchange::RouteContext;
use crate::failure::{Failure, Kind};

/// Shortest time between two checks of one lasting connection: in a busy cluster pods come and go all the time, and
/// thousands of connections must not be woken for each.
const RECHECK: Duration = Duration::from_secs(1);

/// The right of one connection's other end. Asked at every request; answers without allocating and mostly without
/// looking anything up, because a right that was found holds until pods or the route change.
#[derive(Debug)]
pub struct Access {
    peer: IpAddr,
    /// `None`: callers are not known here, and everyone who reaches the proxy may use what it serves.
    workloads: Option<Arc<Workloads>>,
    granted: Mutex<Option<Granted>>,
}

/// A right that was found. Holding the route makes comparing pointers safe.
#[derive(Debug)]
struct Granted {
    version: u64,
    route: Arc<Route>,
}

/// Whether `caller`, who has the address `peer`, may use `route`.
///
/// # Errors
/// It may not; the message names the caller, the rule and what to change.
pub fn decide(route: &Route, peer: IpAddr, caller: Option<&Workload>) -> Result<(), Failure> {
    if route.scope == Scope::ClusterWide {
        return Ok(());
    }
    let own = &route.key.namespace;
    let who = match caller {
        Some(caller) if caller.namespace == *own => return Ok(()),
        Some(caller) => format!("this caller is in namespace '{}'", caller.namespace),
        None => format!(
            "this caller's address {} is that of no known pod (it may be on a node's own network, outside the cluster, \
             or just starting)",
            peer.to_canonical()
        ),
    };
    let message = format!(
        "destination {} may be used from namespace '{own}' only, and {who}; call it from namespace '{own}', or set \
         accessControl.scope: clusterWide",
        route.key
    );
    Err(Failure::new(Kind::CallerForbidden, message))
}

impl Access {
    /// For the connection of `peer`.
    pub fn new(peer: IpAddr, workloads: Option<Arc<Workloads>>) -> Self {
        Self {
            peer,
            workloads,
            granted: Mutex::new(None),
        }
    }

    /// Completes when the caller is known, or has been waited for long enough; at once where it does not matter who it is.
    pub async fn introduced(&self, route: &Route) {
        if let Some(workloads) = &self.workloads
            && route.scope == Scope::Namespaced
        {
            workloads.introduced(self.peer).await;
        }
    }

    /// Whether the route may be used now.
    ///
    /// # Errors
    /// See [`decide`].
    pub fn check(&self, route: &Arc<Route>) -> Result<(), Failure> {
        let Some(workloads) = &self.workloads else {
            return Ok(());
        };
        if route.scope == Scope::ClusterWide {
            return Ok(());
        }
        // Read before the look-up: what changes meanwhile is looked up again next time.
        let version = workloads.version();
        let mut granted = self.granted.lock();
        if let Some(held) = &*granted
            && held.version == version
            && Arc::ptr_eq(&held.route, route)
        {
            return Ok(());
        }
        *granted = None;
        decide(route, self.peer, workloads.find(self.peer).as_deref())?;
        *granted = Some(Granted {
            version,
            route: Arc::clone(route),
        });
        Ok(())
    }

    /// Completes when the route may not be used any more, for connections that last: within some
    /// `RECHECK` after pods or the route changed.
    pub async fn revoked(&self, context: &ArcSwap<RouteContext>) -> Failure {
        let Some(workloads) = &self.workloads else {
            return std::future::pending().await;
        };
        let mut changes = workloads.changes();
        loop {
            if let Err(failure) = self.check(&context.load().route) {
                return failure;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
            sleep(RECHECK).await;
            changes.mark_unchanged();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_destination::route::{RouteKey, RouteProtocol};
    use landbridge_destination::selector::DestinationSelector;

    fn route(scope: Scope) -> Arc<Route> {
        Arc::new(Route {
            key: RouteKey::new("shop", "erp"),
            selector: DestinationSelector::named("erp"),
            protocol: RouteProtocol::Http,
            port: 0,
            scope,
            generation: 1,
            frontends: Vec::new(),
        })
    }

    fn workload(namespace: &str) -> Workload {
        Workload {
            address: "10.0.0.1".parse().unwrap(),
            namespace: namespace.into(),
            service_account: "default".into(),
        }
    }

    #[test]
    fn a_namespaced_route_is_for_its_namespace() {
        let peer = "::ffff:10.0.0.1".parse().unwrap();
        for (scope, caller, said) in [
            (Scope::Namespaced, Some("shop"), None),
            (Scope::Namespaced, Some("dev"), Some("in namespace 'dev'")),
            (
                Scope::Namespaced,
                None,
                Some("address 10.0.0.1 is that of no known pod"),
            ),
            (Scope::ClusterWide, Some("dev"), None),
            (Scope::ClusterWide, None, None),
        ] {
            let caller = caller.map(workload);
            let decision = decide(&route(scope), peer, caller.as_ref());
            match (said, decision) {
                (None, decision) => assert_eq!(decision, Ok(())),
                (Some(said), Err(failure)) => {
                    assert_eq!(failure.kind, Kind::CallerForbidden);
                    for part in [
                        said,
                        "shop/erp",
                        "namespace 'shop'",
                        "accessControl.scope: clusterWide",
                    ] {
                        assert!(failure.message.contains(part), "{failure}");
                    }
                }
                (Some(said), Ok(())) => panic!("allowed although {said}"),
            }
        }
    }

    #[test]
    fn a_right_holds_until_pods_or_the_route_change() {
        let workloads = Arc::new(Workloads::new());
        let access = Access::new("10.0.0.1".parse().unwrap(), Some(Arc::clone(&workloads)));
        let namespaced = route(Scope::Namespaced);
        assert!(access.check(&namespaced).is_err(), "nobody is known yet");
        workloads.replace(vec![workload("shop")]);
        assert!(access.check(&namespaced).is_ok() && access.check(&namespaced).is_ok());
        let mut other = Route::clone(&namespaced);
        other.key.namespace = "other".into();
        assert!(
            access.check(&Arc::new(other)).is_err(),
            "another route is another question"
        );
        assert!(access.check(&namespaced).is_ok());
        workloads.change(vec![workload("dev")], &[]);
        assert!(
            access.check(&namespaced).is_err(),
            "the address belongs to another pod now"
        );
        assert!(access.check(&route(Scope::ClusterWide)).is_ok());
        let everybody = Access::new("10.0.0.1".parse().unwrap(), None);
        assert!(
            everybody.check(&namespaced).is_ok(),
            "callers are not known without a cluster"
        );
    }
}
