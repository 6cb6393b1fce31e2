//! Configuration files of a node's programs, and the manifests that every cluster gets.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::json;

use crate::KubeProxy;
use crate::addresses;

/// Folders that have the plugins for the network of containers: Debian's, and that of everybody else.
pub(crate) const PLUGIN_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// What one node's files depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Folder of the cluster, with its keys.
    pub(crate) cluster: &'a Path,
    /// Folder of the node.
    pub(crate) node: &'a Path,
    /// The node's name.
    pub(crate) name: &'a str,
    /// Range of its pods.
    pub(crate) pods: &'a str,
    /// Where containers are put, below the root of every hierarchy of cgroups.
    pub(crate) cgroup: &'a str,
    /// Folder of the network plugins.
    pub(crate) plugins: &'a str,
}

/// Socket of a node's containerd.
pub(crate) fn socket(node: &Path) -> std::path::PathBuf {
    node.join("cd.sock")
}

/// containerd, as version 1.6 and 1.7 read it, and 2.x after a conversion of its own.
pub(crate) fn containerd(place: Place<'_>) -> String {
    let node = place.node.display();
    let socket = socket(place.node);
    let socket = socket.display();
    let (plugins, pause) = (place.plugins, landbridge_oci_image::images::PAUSE);
    // restrict_oom_score_adj: a machine may forbid even root to lower it (no CAP_SYS_RESOURCE).
    // opt: it would make folders below /opt, for programs that nobody installs.
    format!(
        r#"version = 2
root = "{node}/containerd"
state = "{node}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{node}/cni"
"#
    )
}

/// The network of pods: a pair of links each (`ptp` has no trap of a bridge's), and ports of the host.
pub(crate) fn network(place: Place<'_>) -> String {
    let list = json!({
        "cniVersion": "0.4.0", "name": "pods", "plugins": [
            {"type": "ptp", "ipMasq": false, "ipam": {
                "type": "host-local", "ranges": [[{"subnet": place.pods}]], "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": place.node.join("addresses")}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{list:#}\n")
}

/// kubelet.
pub(crate) fn kubelet(place: Place<'_>) -> String {
    let of_cluster = |name: &str| place.cluster.join(name);
    let of_node = |name: &str| place.node.join(name);
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        // Machines with the first version of cgroups are still common in CI.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", place.cgroup),
        "containerRuntimeEndpoint": format!("unix://{}", socket(place.node).display()),
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": of_cluster("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": of_node("kubelet.crt"),
        "tlsPrivateKeyFile": of_node("kubelet.key"),
        "clusterDomain": "cluster.local",
        "clusterDNS": [addresses::NAME_SERVER],
        "resolvConf": of_node("resolv.conf"),
        "failSwapOn": false,
        "podLogsDir": of_node("logs"),
        // The disk is shared with everything else on the machine: only a full one counts. A share of it says nothing where
        // the machine may use only a part: 1 % of 252 GB were 2.5 GB, and with less no pod was started any more.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "64Mi", "imagefs.available": "64Mi",
            "nodefs.inodesFree": "1000"},
        // Nothing can be pulled again.
        "imageGCHighThresholdPercent": 100,
        // So that suites wait seconds for a lost node, and for a mounted Secret, and not minutes.
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
    });
    format!("{config:#}\n")
}

/// kube-proxy.
pub(crate) fn kube_proxy(place: Place<'_>, mode: KubeProxy) -> String {
    let mode = match mode {
        KubeProxy::Iptables => "iptables",
        KubeProxy::Nftables => "nftables",
    };
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": mode,
        "clientConnection": {"kubeconfig": place.cluster.join("kube-proxy.kubeconfig")},
        "hostnameOverride": place.name,
        "clusterCIDR": addresses::PODS,
        // Leave alone what belongs to the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    });
    format!("{config:#}\n")
}

/// The name server: a new Service is found after a second, and what is not in the cluster does not exist.
pub(crate) fn name_server(folder: &Path, address: Ipv4Addr) -> String {
    let kubeconfig = folder.join("coredns.kubeconfig");
    // Two blocks, since in one the template would answer before the Services are asked.
    format!(
        "cluster.local:53 in-addr.arpa:53 {{
    bind {address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {}
        ttl 1
    }}
}}
.:53 {{
    bind {address}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
",
        kubeconfig.display()
    )
}

/// The Service of the name server, which is no pod, and what it may read.
pub(crate) fn manifests(address: Ipv4Addr) -> String {
    let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]);
    let items = [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": addresses::NAME_SERVER, "ports": ports}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kube-dns-1", "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4", "ports": ports,
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}]}),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn place() -> Place<'static> {
        Place {
            cluster: Path::new("/c"),
            node: Path::new("/c/node2"),
            name: "node2",
            pods: "198.18.1.0/24",
            cgroup: "lbnode-1/node2",
            plugins: "/usr/lib/cni",
        }
    }

    /// Two nodes on one machine must share no file.
    #[test]
    fn everything_a_node_writes_is_in_its_folder() {
        let text = containerd(place());
        for key in ["root", "state", "address", "conf_dir"] {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{key} = ")))
                .unwrap();
            assert!(line.contains("\"/c/node2/"), "{line}");
        }
        let kubelet: Value = serde_json::from_str(&kubelet(place())).unwrap();
        for key in ["podLogsDir", "tlsCertFile", "resolvConf"] {
            assert!(kubelet[key].as_str().unwrap().starts_with("/c/node2/"), "{key}");
        }
        assert_eq!(kubelet["cgroupRoot"], "/lbnode-1/node2");
        assert_eq!(kubelet["containerRuntimeEndpoint"], "unix:///c/node2/cd.sock");
        let network: Value = serde_json::from_str(&network(place())).unwrap();
        assert_eq!(
            network["plugins"][0]["ipam"]["ranges"][0][0]["subnet"],
            "198.18.1.0/24"
        );
    }

    #[test]
    fn the_mode_of_kube_proxy_is_passed_on() {
        for (mode, expected) in [
            (KubeProxy::Iptables, "iptables"),
            (KubeProxy::Nftables, "nftables"),
        ] {
            let config: Value = serde_json::from_str(&kube_proxy(place(), mode)).unwrap();
            assert_eq!(config["mode"], expected);
        }
    }

    #[test]
    fn pods_ask_the_service_of_the_name_server() {
        let list: Value = serde_json::from_str(&manifests(addresses::FIRST_NODE)).unwrap();
        let kubelet: Value = serde_json::from_str(&kubelet(place())).unwrap();
        assert_eq!(list["items"][0]["spec"]["clusterIP"], kubelet["clusterDNS"][0]);
        assert_eq!(list["items"][1]["endpoints"][0]["addresses"][0], "198.51.100.1");
    }
}
