//! Command lines of the servers.

use std::path::Path;

/// Ports of one control plane, all on loopback.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) api: u16,
}

/// Addresses of Services: a benchmark range (RFC 2544), which no network routes.
pub(crate) const SERVICE_RANGE: &str = "198.19.0.0/16";

/// The first address of the range, which the API server gives to its own Service.
pub(crate) const SERVICE_ADDRESS: &str = "198.19.0.1";

/// What the issuer of service account tokens is called.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Every request at the moment of its answer, without bodies, so that suites can count who has written how often.
pub(crate) const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// etcd. Nothing is kept beyond the run, so it need not wait for the disk.
pub(crate) fn etcd(ports: Ports, folder: &Path) -> Vec<String> {
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

/// kube-apiserver. No Endpoints of its own: a loopback address cannot be one.
pub(crate) fn apiserver(ports: Ports, folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
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
        "--endpoint-reconciler-type=none".into(),
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
    ]
}

/// kube-controller-manager; its client is fast, since suites wait for it.
pub(crate) fn controller_manager(folder: &Path) -> Vec<String> {
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

/// Name of the audit log in the folder of a run.
pub(crate) const AUDIT_LOG: &str = "audit.log";

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
            apiserver(ports, folder),
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
        let mut names: Vec<_> = apiserver(ports, folder)
            .iter()
            .map(|flag| flag.split('=').next().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names.dedup();
        assert_eq!(
            names.len(),
            apiserver(ports, folder).len(),
            "a flag is given twice"
        );
    }
}
