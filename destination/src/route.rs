//! What the control plane tells proxies: routes, and what proxies tell back about them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::selector::DestinationSelector;

/// Identity of a route: the namespaced name of the `Destination` resource it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteKey {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource, also the host name applications call.
    pub name: String,
}

impl RouteKey {
    /// Builds a key.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What an application speaks on the route's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteProtocol {
    /// HTTP/1.1 with upgrades.
    Http,
    /// Opaque bytes.
    Tcp,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Workloads of the route's own namespace only.
    Namespaced,
    /// Every workload of the cluster.
    ClusterWide,
}

/// One destination as a proxy serves it: a port of its own, so that a connection names its destination by the
/// port it arrived on, whatever the `Host` header says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Identity.
    pub key: RouteKey,
    /// Which destination it means.
    pub selector: DestinationSelector,
    /// Protocol on the port.
    pub protocol: RouteProtocol,
    /// Port the proxy listens on; 0 takes any free port.
    pub port: u16,
    /// Who may use it.
    pub scope: Scope,
    /// Generation of the resource this was made from; state is reported for it.
    pub generation: u64,
    /// Addresses by which workloads call it (cluster IPs of its Service, with its port), sorted. Proxies beside the workloads
    /// intercept what goes there. Empty where nobody but the gateways may serve it: what needs a tunnel, and gateway
    /// routes, of which each request may need one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frontends: Vec<SocketAddr>,
}

impl Route {
    /// Whether each request names the destination itself (`destinationRef.name` is `*`).
    pub fn is_gateway(&self) -> bool {
        self.selector.is_gateway()
    }
}

/// All routes at one point in time. Cloning copies pointers only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteSnapshot {
    /// Grows with every change; 0 is the empty snapshot before the first one.
    pub version: u64,
    /// The routes, sorted by key; keys are unique. [`RouteSnapshot::new`] sees to both.
    pub routes: Arc<[Arc<Route>]>,
}

/// Wire form of a snapshot. Kept apart so that serde needs no support for shared pointers.
#[derive(Serialize)]
struct SnapshotOut<'a> {
    version: u64,
    routes: Vec<&'a Route>,
}

/// Reading side of [`SnapshotOut`].
#[derive(Deserialize)]
struct SnapshotIn {
    version: u64,
    routes: Vec<Route>,
}

impl RouteSnapshot {
    /// Builds a snapshot from routes in any order. Of two with the same key the first one counts.
    pub fn new(version: u64, mut routes: Vec<Arc<Route>>) -> Self {
        // Stable, so that "the first one" means something; nearly free when they are sorted already.
        routes.sort_by(|one, other| one.key.cmp(&other.key));
        routes.dedup_by(|later, first| later.key == first.key);
        Self {
            version,
            routes: routes.into(),
        }
    }

    /// Finds a route by its key: a binary search, because every listener is looked up at every change (10 000 of them).
    pub fn get(&self, key: &RouteKey) -> Option<&Arc<Route>> {
        let found = self.routes.binary_search_by(|route| route.key.cmp(key));
        found.ok().and_then(|index| self.routes.get(index))
    }
}

impl Serialize for RouteSnapshot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SnapshotOut {
            version: self.version,
            routes: self.routes.iter().map(Arc::as_ref).collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RouteSnapshot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let snapshot = SnapshotIn::deserialize(deserializer)?;
        Ok(Self::new(
            snapshot.version,
            snapshot.routes.into_iter().map(Arc::new).collect(),
        ))
    }
}

/// What a proxy reports about one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "detail")]
pub enum RouteState {
    /// The port is open at this address.
    Listening(SocketAddr),
    /// The route cannot be served; the text says why and what to do.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, destination: &str) -> Arc<Route> {
        Arc::new(Route {
            key: RouteKey::new("default", name),
            selector: DestinationSelector::named(destination),
            protocol: RouteProtocol::Http,
            port: 0,
            scope: Scope::ClusterWide,
            generation: 3,
            frontends: Vec::new(),
        })
    }

    #[test]
    fn snapshot_survives_json() {
        let snapshot = RouteSnapshot::new(7, vec![route("a", "erp"), route("gw", "*")]);
        let json = serde_json::to_string(&snapshot).unwrap();
        assert!(
            json.contains(r#""protocol":"http""#) && json.contains(r#""scope":"clusterWide""#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<RouteSnapshot>(&json).unwrap(), snapshot);
    }

    #[test]
    fn looks_up_by_key_and_knows_gateways() {
        let snapshot = RouteSnapshot::new(1, vec![route("a", "erp"), route("gw", "*")]);
        assert!(
            snapshot
                .get(&RouteKey::new("default", "gw"))
                .is_some_and(|found| found.is_gateway())
        );
        assert!(
            snapshot
                .get(&RouteKey::new("default", "a"))
                .is_some_and(|found| !found.is_gateway())
        );
        assert!(snapshot.get(&RouteKey::new("other", "a")).is_none());
    }

    #[test]
    fn any_order_is_sorted_and_the_first_of_a_key_counts() {
        let routes: Vec<_> = ["m", "c", "z", "a", "c"]
            .iter()
            .enumerate()
            .map(|(index, name)| route(name, &format!("destination-{index}")))
            .collect();
        let snapshot = RouteSnapshot::new(1, routes);
        let names: Vec<&str> = snapshot
            .routes
            .iter()
            .map(|route| route.key.name.as_str())
            .collect();
        assert_eq!(names, ["a", "c", "m", "z"]);
        for name in names {
            let found = snapshot.get(&RouteKey::new("default", name));
            assert_eq!(found.map(|route| route.key.name.as_str()), Some(name));
        }
        let first = snapshot.get(&RouteKey::new("default", "c")).unwrap();
        assert_eq!(first.selector.name, "destination-1");
        assert!(snapshot.get(&RouteKey::new("default", "b")).is_none());
    }

    #[test]
    fn state_survives_json() {
        for state in [
            RouteState::Listening(SocketAddr::from(([127, 0, 0, 1], 8080))),
            RouteState::Failed("port 8080 in use".into()),
        ] {
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(
                serde_json::from_str::<RouteState>(&json).unwrap(),
                state,
                "{json}"
            );
        }
    }
}
