//! Scope as NetworkPolicies of the proxies' namespace: who may reach which ports of the proxies.
//!
//! One policy for each namespace that has destinations, not one for each destination: with 10 000 destinations that is
//! the difference between a few objects and 10 000, and neighbouring ports shrink to ranges. The proxies enforce the
//! scope as well, by the identity of the caller, for networks that ignore policies.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use landbridge_destination::Scope;

use super::children::{MANAGED_BY, MANAGER};

/// Label that the API server puts on every namespace (since Kubernetes 1.21).
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

const CLUSTER_WIDE: &str = "landbridge-scope-cluster-wide";
const NAMESPACED: &str = "landbridge-scope-ns-";

/// Which pods the proxies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies {
    /// Their namespace.
    pub namespace: String,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
}

/// Ports by who may use them; none as the namespace means everybody.
#[derive(Debug, Default, Clone)]
pub struct Scopes {
    /// Moves with every change.
    version: u64,
    /// Ports with how many routes use them: where two replicas disagree there may be two for a moment, and the one that
    /// goes must not take the other's callers along.
    ports: BTreeMap<Option<String>, BTreeMap<u16, u32>>,
}

impl PartialEq for Scopes {
    fn eq(&self, other: &Self) -> bool {
        self.ports == other.ports
    }
}

impl Scopes {
    /// Another number after every change: comparing thousands of ports after each event would cost more than the event.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Lets the callers that `scope` means use `port`.
    pub fn allow(&mut self, namespace: &str, scope: Scope, port: u16) {
        self.version += 1;
        let callers = Self::callers(namespace, scope);
        *self.ports.entry(callers).or_default().entry(port).or_default() += 1;
    }

    /// Takes that back.
    pub fn refuse(&mut self, namespace: &str, scope: Scope, port: u16) {
        self.version += 1;
        let callers = Self::callers(namespace, scope);
        if let Some(ports) = self.ports.get_mut(&callers) {
            if let Some(count) = ports.get_mut(&port) {
                *count -= 1;
                if *count == 0 {
                    ports.remove(&port);
                }
            }
            if ports.is_empty() {
                self.ports.remove(&callers);
            }
        }
    }

    fn callers(namespace: &str, scope: Scope) -> Option<String> {
        (scope == Scope::Namespaced).then(|| namespace.to_owned())
    }

    /// The policies, by name.
    pub fn policies(&self, proxies: &Proxies) -> BTreeMap<String, NetworkPolicy> {
        self.ports
            .iter()
            .map(|(callers, ports)| {
                let name = match callers {
                    Some(namespace) => format!("{NAMESPACED}{namespace}"),
                    None => CLUSTER_WIDE.to_owned(),
                };
                let policy = policy(&name, callers.as_deref(), ports, proxies);
                (name, policy)
            })
            .collect()
    }
}

fn policy(name: &str, callers: Option<&str>, ports: &BTreeMap<u16, u32>, proxies: &Proxies) -> NetworkPolicy {
    let namespaces = LabelSelector {
        match_labels: callers.map(|namespace| [(NAMESPACE_NAME.to_owned(), namespace.to_owned())].into()),
        match_expressions: None,
    };
    let peer = NetworkPolicyPeer {
        namespace_selector: Some(namespaces),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(proxies.namespace.clone()),
            labels: Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(proxies.labels.clone()),
                match_expressions: None,
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![peer]),
                ports: Some(ranges(ports).map(port).collect()),
            }]),
            egress: None,
        }),
    }
}

fn port((first, last): (u16, u16)) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(first))),
        end_port: (last > first).then(|| i32::from(last)),
        protocol: Some("TCP".to_owned()),
    }
}

/// Neighbouring ports as ranges.
fn ranges(ports: &BTreeMap<u16, u32>) -> impl Iterator<Item = (u16, u16)> {
    let mut ports = ports.keys().copied().peekable();
    std::iter::from_fn(move || {
        let first = ports.next()?;
        let mut last = first;
        while let Some(next) = ports.next_if(|next| *next == last + 1) {
            last = next;
        }
        Some((first, last))
    })
}

/// A number that stands for everything of a policy that we decide.
pub fn policy_shape(policy: &NetworkPolicy) -> u64 {
    let mut shape = DefaultHasher::new();
    let labels = policy.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).hash(&mut shape);
    if let Some(spec) = &policy.spec {
        let pods = spec.pod_selector.as_ref();
        pods.and_then(|pods| pods.match_labels.as_ref()).hash(&mut shape);
        spec.policy_types.hash(&mut shape);
        for rule in spec.ingress.iter().flatten() {
            for peer in rule.from.iter().flatten() {
                let namespaces = peer.namespace_selector.as_ref();
                namespaces
                    .and_then(|namespaces| namespaces.match_labels.as_ref())
                    .hash(&mut shape);
                (peer.pod_selector.is_some(), peer.ip_block.is_some()).hash(&mut shape);
            }
            for port in rule.ports.iter().flatten() {
                port.end_port.hash(&mut shape);
                if let Some(IntOrString::Int(number)) = &port.port {
                    number.hash(&mut shape);
                }
            }
        }
    }
    shape.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Proxies {
        Proxies {
            namespace: "landbridge-system".into(),
            labels: [("app".to_owned(), "proxy".to_owned())].into(),
        }
    }

    #[test]
    fn one_policy_for_each_circle_of_callers() {
        let mut scopes = Scopes::default();
        for port in [10_000, 10_001, 10_002, 10_010] {
            scopes.allow("shop", Scope::Namespaced, port);
        }
        scopes.allow("shop", Scope::ClusterWide, 10_005);
        scopes.allow("crm", Scope::ClusterWide, 10_006);
        let policies = scopes.policies(&proxies());
        let names: Vec<_> = policies.keys().map(String::as_str).collect();
        assert_eq!(names, [CLUSTER_WIDE, "landbridge-scope-ns-shop"]);

        let json = serde_json::to_value(&policies["landbridge-scope-ns-shop"]).unwrap();
        assert_eq!(
            json["spec"]["ingress"][0],
            serde_json::json!({
                "from": [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "shop"}}}],
                "ports": [
                    {"port": 10_000, "endPort": 10_002, "protocol": "TCP"},
                    {"port": 10_010, "protocol": "TCP"},
                ],
            })
        );
        let json = serde_json::to_value(&policies[CLUSTER_WIDE]).unwrap();
        assert_eq!(
            json["spec"]["ingress"][0]["from"],
            serde_json::json!([{"namespaceSelector": {}}]),
            "an empty selector is every namespace"
        );
    }

    #[test]
    fn what_is_refused_again_leaves_nothing() {
        let mut scopes = Scopes::default();
        scopes.allow("shop", Scope::Namespaced, 10_000);
        let before = scopes.policies(&proxies());
        scopes.allow("shop", Scope::Namespaced, 10_001);
        let after = scopes.policies(&proxies());
        let shape =
            |policies: &BTreeMap<String, NetworkPolicy>| policy_shape(&policies["landbridge-scope-ns-shop"]);
        assert_ne!(shape(&before), shape(&after));
        scopes.refuse("shop", Scope::Namespaced, 10_000);
        scopes.refuse("shop", Scope::Namespaced, 10_001);
        assert_eq!(scopes, Scopes::default());
    }
}
