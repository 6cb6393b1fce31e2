//! Keys and certificates of a cluster, as files in its folder.

use std::path::Path;

use anyhow::Result;
use landbridge_control_plane::credentials::{self, Authority};
use landbridge_control_plane::flags;

use super::{KUBECONFIG, url};
use crate::addresses;
use crate::machine::write;

/// Writes those that the control plane and the nodes have in common.
pub(super) fn write_all(folder: &Path) -> Result<Authority> {
    let authority = Authority::new("landbridge-test-cluster")?;
    let front = Authority::new("landbridge-test-front-proxy")?;
    let address = addresses::FIRST_NODE.to_string();
    let names = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ];
    let names = [&names[..], &[flags::SERVICE_ADDRESS, &address]].concat();
    let apiserver = authority.serving(&names)?;
    let kubelet = authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
    let front_client = front.client("front-proxy-client", None)?;
    let (token_key, token_public) = credentials::token_keys()?;
    for (name, text) in [
        ("ca.crt", &authority.certificate),
        ("ca.key", &authority.key),
        ("front-proxy-ca.crt", &front.certificate),
        ("front-proxy-client.crt", &front_client.certificate),
        ("front-proxy-client.key", &front_client.key),
        ("apiserver.crt", &apiserver.certificate),
        ("apiserver.key", &apiserver.key),
        ("apiserver-kubelet-client.crt", &kubelet.certificate),
        ("apiserver-kubelet-client.key", &kubelet.key),
        ("sa.key", &token_key),
        ("sa.pub", &token_public),
        ("audit-policy.yaml", &flags::AUDIT_POLICY.to_owned()),
    ] {
        write(&folder.join(name), text)?;
    }
    for (file, user, group) in [
        (KUBECONFIG, "landbridge-test-admin", Some("system:masters")),
        (
            "controller-manager.kubeconfig",
            "system:kube-controller-manager",
            None,
        ),
        ("scheduler.kubeconfig", "system:kube-scheduler", None),
        ("kube-proxy.kubeconfig", "system:kube-proxy", None),
        ("coredns.kubeconfig", "system:coredns", None),
    ] {
        let user = credentials::certificate_user(&authority.client(user, group)?);
        write(
            &folder.join(file),
            &credentials::kubeconfig(&url(), &authority.certificate, user),
        )?;
    }
    Ok(authority)
}
