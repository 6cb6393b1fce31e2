//! Every check by name; docs/reference/check.md says the same, which a test compares.

use std::fmt::Display;

use super::{Finding, Outcome, Trouble};

/// A check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Group.
    pub category: &'static str,
    /// Name.
    pub name: &'static str,
    /// What is checked.
    pub title: &'static str,
    /// When it is made: "before", "after", "uninstall", or several of these.
    pub when: &'static str,
    /// What it means when it is not so.
    pub meaning: &'static str,
    /// What to do then.
    pub remedy: &'static str,
}

impl Entry {
    /// All is well.
    pub fn ok(&self, message: impl Display) -> Finding {
        self.finding(Outcome::Ok, message, "")
    }

    /// It works, but should be looked at.
    pub fn warning(&self, message: impl Display, remedy: impl Display) -> Finding {
        self.finding(Outcome::Warning, message, remedy)
    }

    /// It does not work.
    pub fn failed(&self, message: impl Display, remedy: impl Display) -> Finding {
        self.finding(Outcome::Failed, message, remedy)
    }

    /// Not checked.
    pub fn skipped(&self, message: impl Display) -> Finding {
        self.finding(Outcome::Skipped, message, "")
    }

    /// What cannot be read for lack of rights is not checked; everything else is a failure.
    pub fn unknown(&self, trouble: &Trouble, remedy: impl Display) -> Finding {
        match trouble {
            Trouble::Forbidden(why) => self.finding(
                Outcome::Skipped,
                format_args!("no right to see it: {why}"),
                "let somebody with more rights run this check",
            ),
            other => self.failed(other, remedy),
        }
    }

    fn finding(&self, result: Outcome, message: impl Display, remedy: impl Display) -> Finding {
        Finding {
            category: self.category,
            name: self.name,
            title: self.title,
            result,
            message: message.to_string(),
            remedy: remedy.to_string(),
        }
    }
}

macro_rules! catalogue {
    ($($id:ident: $category:literal, $name:literal, $when:literal, $title:literal, $meaning:literal, $remedy:literal;)*) => {
        $(
            #[doc = concat!("Check `", $name, "`: ", $title, ".")]
            pub const $id: Entry = Entry {
                category: $category,
                name: $name,
                title: $title,
                when: $when,
                meaning: $meaning,
                remedy: $remedy,
            };
        )*

        /// All of them, in the order in which they are told.
        pub const ALL: &[Entry] = &[$($id),*];
    };
}

catalogue! {
    API_SERVER: "kubernetes", "api-server", "always", "the API server answers",
        "there is no cluster, or no way to it; nothing else can be checked",
        "make `kubectl cluster-info` work; name the cluster with `--kubeconfig` or `--context`";
    VERSION: "kubernetes", "kubernetes-version", "before, after", "the version of Kubernetes is supported",
        "the definitions use CEL rules, which are stable from 1.29 on",
        "update the cluster";
    NAMESPACE: "kubernetes", "namespace", "before, after", "the namespace is there",
        "there is nothing to install into, or it is on its way out",
        "`kubectl create namespace NAMESPACE`, or `helm install --create-namespace`";
    RIGHTS: "kubernetes", "rights", "before", "you may create what the charts create",
        "`helm install` will fail half-way",
        "let an administrator install it, or give you the rights that are named";
    DESTINATIONS_DEFINITION: "definitions", "destinations-definition", "before, after", "Destination is defined",
        "before: another product owns the definition, or it is of another version; after: Destinations cannot be declared, or fields of them are dropped",
        "`landbridge crds | kubectl apply --server-side --force-conflicts -f -`, or update the chart landbridge-crds";
    CHANNELS_DEFINITION: "definitions", "servicechannels-definition", "before, after", "ServiceChannel is defined",
        "the same of ServiceChannels",
        "as `destinations-definition`";
    MAPPINGS_DEFINITION: "definitions", "servicemappings-definition", "before, after", "ServiceMapping is defined",
        "the same of ServiceMappings",
        "as `destinations-definition`";
    OTHERS: "surroundings", "other-controllers", "before", "nobody else looks after Destinations",
        "another transparent proxy, or another installation of Landbridge, would work on the same resources",
        "remove the other one, or give each namespaces of its own (`config.managedNamespacesMode: labelSelector`)";
    NETWORK_POLICIES: "surroundings", "network-policies", "before", "network policies are enforced",
        "cannot be seen from outside; where the network ignores them, only the proxies enforce the scope of a destination",
        "ask who runs the cluster; nothing has to be done for Landbridge";
    CERT_MANAGER: "surroundings", "cert-manager", "before, with `--cert-manager`", "cert-manager is there",
        "Certificates cannot be declared",
        "install cert-manager, or leave `certManager.enabled` false: the operator makes its certificates itself";
    AUTOSCALER: "surroundings", "vertical-autoscaler", "before, with `--vertical-autoscaler`", "VerticalPodAutoscaler is defined",
        "`vertical.enabled` cannot be used",
        "install the vertical pod autoscaler, or scale horizontally";
    PROMETHEUS: "surroundings", "prometheus-operator", "before, with `--prometheus`", "ServiceMonitor is defined",
        "`serviceMonitor.enabled` cannot be used",
        "install the Prometheus operator, or let Prometheus find the pods by their annotations";
    OPERATOR_READY: "operator", "operator-ready", "after", "the operator runs",
        "nothing that is declared takes effect; proxies go on with what they know",
        "`kubectl describe pod -n NAMESPACE -l app.kubernetes.io/component=operator`";
    OPERATOR_LEASE: "operator", "operator-lease", "after", "a replica of the operator leads",
        "nobody writes Services and statuses",
        "`kubectl logs -n NAMESPACE -l app.kubernetes.io/component=operator`";
    CONTROLLER: "operator", "operator-works", "after", "the operator's controller answers",
        "it is stuck",
        "look at its log, then `kubectl rollout restart deployment/landbridge-operator -n NAMESPACE`";
    CERTIFICATES: "operator", "operator-certificates", "after", "the operator's certificates are in order",
        "proxies will not trust the operator, now or soon",
        "the message says what to do";
    AUTHORITIES: "operator", "trusted-authorities", "after", "proxies know whom to trust",
        "the ConfigMap landbridge-ca is missing or has no valid authority: proxy pods do not start, or do not reach the operator",
        "the operator writes it; see its log";
    VERSIONS: "operator", "versions", "after", "all parts have one version",
        "an update has not ended, or one chart was not updated",
        "update all charts of the installation to one version";
    WEBHOOK_REGISTERED: "webhook", "webhook-registered", "after", "the admission webhook is registered",
        "mistakes are taken by `kubectl apply` and told in the status only",
        "the leading operator registers it; see its log";
    WEBHOOK_AUTHORITY: "webhook", "webhook-authority", "after", "the API server trusts the webhook",
        "the authority that it was registered with has ended or will end soon",
        "restart the operator, which registers it anew";
    WEBHOOK_ANSWERS: "webhook", "webhook-answers", "after", "the webhook refuses a mistake",
        "the API server does not reach it: a network policy, a firewall between control plane and nodes, or no ready operator",
        "let the API server reach port 9443 of the operator's pods";
    SERVICE_KEY: "stores", "service-key", "after", "the service key can be used",
        "destinations of that instance cannot be resolved",
        "`kubectl create secret generic NAME -n NAMESPACE --from-file=KEY=service-key.json`";
    STORE: "stores", "store-reachable", "after", "the destination service answers the operator",
        "changes of destinations are not seen; proxies use what they know",
        "the message of the operator says what is wrong";
    PROXIES_READY: "proxies", "proxies-ready", "after", "the proxies run",
        "calls are not carried, or by fewer proxies than wanted",
        "`kubectl describe pod -n NAMESPACE -l app.kubernetes.io/component=proxy`";
    PROXIES_CONNECTED: "proxies", "proxies-connected", "after", "the proxies follow the operator",
        "they do not hear of changes, and get no new callers",
        "`kubectl logs -n NAMESPACE -l app.kubernetes.io/component=proxy`";
    CONNECTORS: "proxies", "connectors-connected", "after, with connectivity", "a connector is connected",
        "destinations with `ProxyType` OnPremise cannot be reached",
        "start the connector and look at its log; a new one needs a token: `landbridge tunnel create-token`";
    NODES_READY: "interception", "nodes-ready", "after, with proxies of nodes", "the proxies of nodes run",
        "calls from pods of the other nodes go through the gateways",
        "`kubectl describe daemonset landbridge-node -n NAMESPACE`; its namespace must allow the Pod Security level privileged";
    INJECTION_REGISTERED: "interception", "injection-registered", "after, with sidecars", "the webhook that puts sidecars into pods is registered and trusted",
        "pods are made without a sidecar, and use the gateways",
        "the leading operator registers it; see its log";
    INJECTION_NAMESPACES: "interception", "injection-namespaces", "after, with sidecars", "namespaces that have opted in allow sidecars",
        "their pods have no sidecar, and use the gateways",
        "`kubectl label namespace NAME pod-security.kubernetes.io/enforce=privileged --overwrite`, or opt them out";
    DESTINATIONS: "resources", "destinations-available", "after", "Destinations are available",
        "callers of those that are named get an error",
        "`landbridge explain NAME -n NAMESPACE`";
    CHANNELS: "resources", "service-channels-ready", "after", "ServiceChannels and ServiceMappings are ready",
        "on-premise clients do not reach the services that are named",
        "`kubectl describe sch NAME -n NAMESPACE`";
    CHANNELS_LEFT: "uninstall", "service-channels-left", "uninstall", "no ServiceChannels are left",
        "on-premise clients would lose them without anybody having said so, and their finalizers would wait for an operator that is gone",
        "`kubectl delete servicechannels --all -A`";
    MAPPINGS_LEFT: "uninstall", "service-mappings-left", "uninstall", "no ServiceMappings are left",
        "the same of ServiceMappings",
        "`kubectl delete servicemappings --all`";
    DESTINATIONS_LEFT: "uninstall", "destinations-left", "uninstall", "no Destinations are left",
        "their Services would stay, without anybody behind them; not checked where Destinations may not be listed",
        "`kubectl delete destinations.destination.connectivity.api.sap --all -A`";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entry: &Entry) -> String {
        format!(
            "| `{}` | {} | {} | {} | {} |",
            entry.name,
            entry.title,
            entry.when,
            entry.meaning,
            entry.remedy.replace('|', "\\|")
        )
    }

    #[test]
    fn the_reference_says_the_same() {
        let reference = include_str!("../../../docs/reference/check.md");
        // Above the first category are tables of other things.
        let below = reference.lines().skip_while(|line| !line.starts_with("## "));
        let written: Vec<&str> = below.filter(|line| line.starts_with("| `")).collect();
        let rows: Vec<String> = ALL.iter().map(row).collect();
        let wanted = rows.join("\n");
        assert_eq!(
            written, rows,
            "the table of docs/reference/check.md must be:\n{wanted}\n"
        );
        for category in ALL.iter().map(|entry| entry.category) {
            assert!(reference.contains(&format!("## {category}\n")), "{category}");
        }
    }

    #[test]
    fn names_are_unique_and_categories_together() {
        let mut names: Vec<_> = ALL.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        let mut categories: Vec<_> = ALL.iter().map(|entry| entry.category).collect();
        categories.dedup();
        let different = categories.len();
        categories.sort_unstable();
        categories.dedup();
        assert_eq!(categories.len(), different);
    }
}
