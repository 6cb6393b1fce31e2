//! Command lines of the servers.

use std::net::IpAddr;
use std::path::Path;

/// Ports of one control plane.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Of the database, on loopback.
    pub etcd: u16,
    /// Where the database would be called by others of its kind, on loopback.
    pub etcd_peer: u16,
    /// Of the API server.
    pub api: u16,
}

/// Who can call the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine alone; there are no nodes.
    Loopback,
    /// Nodes and pods, at this address; for a network namespace of its own only.
    Nodes(IpAddr),
}

/// Addresses of Services: a benchmark range (RFC 2544), which no network routes.
pub const SERVICE_RANGE: &str = "198.19.0.0/16";

/// The first address of the range, which the API server gives to its own Service.
pub const SERVICE_ADDRESS: &str = "198.19.0.1";

/// What the issuer of service account tokens is called.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Every request at the moment of its answer, without bodies, so that suites can count who has written how often.
pub const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// etcd. Nothing is kept beyond the run, so it need not wait for the disk.
pub fn etcd(ports: Ports, folder: &Path) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    vec![
        "--name=default".into(),
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

/// kube-apiserver.
pub fn apiserver(ports: Ports, reach: Reach, folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        format!("--secure-port={}", ports.api),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        format!("--requestheader-client-ca-file={}", file("front-proxy-ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        format!("--proxy-client-cert-file={}", file("front-proxy-client.crt")),
        format!("--proxy-client-key-file={}", file("front-proxy-client.key")),
        format!("--audit-policy-file={}", file("audit-policy.yaml")),
        format!("--audit-log-path={}", file(AUDIT_LOG)),
        // Far above what a run writes: a rotated file would lose counts.
        "--audit-log-maxsize=8192".into(),
    ];
    flags.extend(match reach {
        // No Endpoints of its own: a loopback address cannot be one.
        Reach::Loopback => vec![
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            "--endpoint-reconciler-type=none".into(),
        ],
        Reach::Nodes(address) => vec![
            "--bind-address=0.0.0.0".into(),
            format!("--advertise-address={address}"),
            format!(
                "--kubelet-client-certificate={}",
                file("apiserver-kubelet-client.crt")
            ),
            format!("--kubelet-client-key={}", file("apiserver-kubelet-client.key")),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            // The names of the nodes are known to nobody.
            "--kubelet-preferred-address-types=InternalIP".into(),
        ],
    });
    flags
}

/// kube-controller-manager; its client is fast, since suites wait for it.
pub fn controller_manager(folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let kubeconfig = file("controller-manager.kubeconfig");
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--leader-elect=false".into(),
        "--use-service-account-credentials=true".into(),
        format!("--service-account-private-key-file={}", file("sa.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        "--kube-api-qps=200".into(),
        "--kube-api-burst=400".into(),
        "--node-monitor-grace-period=16s".into(),
        "--bind-address=127.0.0.1".into(),
        // Nobody asks it for its metrics.
        "--secure-port=0".into(),
    ]
}

/// kube-scheduler.
pub fn scheduler(folder: &Path) -> Vec<String> {
    let kubeconfig = folder.join("scheduler.kubeconfig").display().to_string();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--leader-elect=false".into(),
        "--secure-port=0".into(),
    ]
}

/// Name of the audit log in the folder of a run.
pub const AUDIT_LOG: &str = "audit.log";

#[cfg(test)]
mod tests {
    use super::*;

    /// A test's server must not be reachable by anybody else, nor its database.
    #[test]
    fn everything_listens_on_loopback_only() {
        let ports = Ports {
            etcd: 1,
            etcd_peer: 2,
            api: 3,
        };
        let folder = Path::new("/run");
        let all = [
            etcd(ports, folder),
            apiserver(ports, Reach::Loopback, folder),
            controller_manager(folder),
        ]
        .concat();
        assert!(
            all.iter()
                .all(|flag| !flag.contains("0.0.0.0") && !flag.contains("[::]"))
        );
        let bound = all
            .iter()
            .filter(|flag| flag.starts_with("--bind-address="))
            .count();
        assert_eq!(
            (bound, all.contains(&"--bind-address=127.0.0.1".to_owned())),
            (2, true)
        );
    }

    #[test]
    fn no_flag_is_given_twice() {
        let ports = Ports {
            etcd: 1,
            etcd_peer: 2,
            api: 3,
        };
        for reach in [Reach::Loopback, Reach::Nodes([198, 51, 100, 1].into())] {
            let flags = apiserver(ports, reach, Path::new("/run"));
            let mut names: Vec<_> = flags
                .iter()
                .map(|flag| flag.split('=').next().unwrap_or_default())
                .collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), flags.len(), "{reach:?}: {flags:?}");
        }
    }
}
