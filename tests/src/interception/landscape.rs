//! The destinations of every world, and the routes to them.

use std::net::SocketAddr;
use std::sync::Arc;

use landbridge_destination::{DestinationSelector, Route, RouteKey, RouteProtocol, Scope};
use serde_json::{Value, json};

use super::network::Family;
use super::targets::Targets;

/// One destination, its resource in the namespace `shop` and its Service.
#[derive(Debug)]
pub struct Entry {
    /// Name of the resource; the destination has the same unless [`Entry::destination`] says otherwise.
    pub name: &'static str,
    protocol: RouteProtocol,
    scope: Scope,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Something outside, reached directly: port, and what the destination has beside the address.
    Internet(u16, &'static [(&'static str, &'static str)]),
    /// The same, with TLS.
    Encrypted(u16),
    /// The same behind a connector.
    OnPremise,
    /// Each request says which destination it means.
    Each,
    /// The store has none of that name.
    Missing,
}

use Kind::{Each, Encrypted, Internet, Missing, OnPremise};
use RouteProtocol::{Http, Tcp};
use Scope::{ClusterWide, Namespaced};

const BASIC: &[(&str, &str)] = &[
    ("Authentication", "BasicAuthentication"),
    ("User", "clerk"),
    ("Password", "a secret"),
];
const OAUTH: &[(&str, &str)] = &[
    ("Authentication", "OAuth2ClientCredentials"),
    ("clientId", "client"),
    ("clientSecret", "secret"),
    ("tokenServiceURLType", "Dedicated"),
];
const HEADERS: &[(&str, &str)] = &[("URL.headers.x-tenant", "blue"), ("URL.queries.client", "100")];

/// All of them.
pub const LANDSCAPE: &[Entry] = &[
    http("plain", ClusterWide, Internet(Targets::MIRROR, &[])),
    http("basic", Namespaced, Internet(Targets::MIRROR, BASIC)),
    http("oauth", Namespaced, Internet(Targets::PROTECTED, OAUTH)),
    http("headers", Namespaced, Internet(Targets::MIRROR, HEADERS)),
    http("upgrade", Namespaced, Internet(Targets::UPGRADE, &[])),
    http("missing", Namespaced, Missing),
    // Nobody listens there.
    http("closed", Namespaced, Internet(1, &[])),
    http("changed", Namespaced, Internet(Targets::MIRROR, &[])),
    http("removed", Namespaced, Internet(Targets::MIRROR, &[])),
    tcp("echo", Namespaced, Internet(Targets::ECHO, &[])),
    tcp("greeter", ClusterWide, Internet(Targets::GREETER, &[])),
    http("erp", Namespaced, OnPremise),
    http("each", Namespaced, Each),
    http("encrypted", Namespaced, Encrypted(Targets::TLS)),
];

const fn http(name: &'static str, scope: Scope, kind: Kind) -> Entry {
    Entry {
        name,
        protocol: Http,
        scope,
        kind,
    }
}

const fn tcp(name: &'static str, scope: Scope, kind: Kind) -> Entry {
    Entry {
        name,
        protocol: Tcp,
        scope,
        kind,
    }
}

/// The entry of this name.
pub fn entry(name: &str) -> &'static Entry {
    let found = LANDSCAPE.iter().find(|entry| entry.name == name);
    found.unwrap_or_else(|| panic!("no entry {name}"))
}

impl Entry {
    fn number(&self) -> u16 {
        let place = LANDSCAPE.iter().position(|entry| entry.name == self.name);
        10 + u16::try_from(place.expect("one of the landscape")).expect("a few")
    }

    /// Where workloads call it.
    pub fn frontend(&self, family: Family) -> SocketAddr {
        SocketAddr::new(family.cluster_ip(self.number()), 80)
    }

    /// The gateways' port.
    pub fn port(&self) -> u16 {
        20_000 + self.number()
    }

    /// Whether only gateways may serve it.
    pub fn only_gateways(&self) -> bool {
        matches!(self.kind, OnPremise | Each)
    }

    /// Whether pods of all namespaces may use it.
    pub fn is_open(&self) -> bool {
        self.scope == ClusterWide
    }

    /// What the operator tells of it.
    pub fn route(&self, family: Family) -> Arc<Route> {
        let name = if matches!(self.kind, Each) { "*" } else { self.name };
        Arc::new(Route {
            key: RouteKey::new("shop", self.name),
            selector: DestinationSelector::named(name),
            protocol: self.protocol,
            port: self.port(),
            scope: self.scope,
            generation: 1,
            frontends: if self.only_gateways() {
                Vec::new()
            } else {
                vec![self.frontend(family)]
            },
        })
    }

    /// What the store has.
    pub fn destination(&self, family: Family) -> Option<Value> {
        let outside = |port| SocketAddr::new(family.outside(), port);
        let (port, properties) = match self.kind {
            Internet(port, properties) => (port, properties),
            OnPremise => {
                return Some(
                    json!({"Name": self.name, "Type": "HTTP", "URL": "http://erp.company:44300",
                    "ProxyType": "OnPremise", "Authentication": "NoAuthentication"}),
                );
            }
            Encrypted(port) => {
                let url = format!("https://{}", outside(port));
                return Some(
                    json!({"Name": self.name, "Type": "HTTP", "URL": url, "ProxyType": "Internet",
                    "Authentication": "NoAuthentication"}),
                );
            }
            Each | Missing => return None,
        };
        let mut destination =
            json!({"Name": self.name, "ProxyType": "Internet", "Authentication": "NoAuthentication"});
        if self.protocol == Tcp {
            destination["Type"] = "TCP".into();
            destination["Address"] = outside(port).to_string().into();
        } else {
            destination["Type"] = "HTTP".into();
            destination["URL"] = format!("http://{}", outside(port)).into();
        }
        for (name, value) in properties {
            destination[*name] = (*value).into();
        }
        if properties == OAUTH {
            destination["tokenServiceURL"] =
                format!("http://{}/oauth/token", outside(Targets::PROTECTED)).into();
        }
        Some(destination)
    }
}
