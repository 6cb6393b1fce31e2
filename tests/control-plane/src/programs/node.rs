//! What a node runs beside the packages of the distribution. Apart from the control plane: suites without a node do not wait
//! for it.

use std::path::PathBuf;

use anyhow::Result;

use super::build;
use super::source::{COREDNS, NODE};
use crate::{Progress, folders};

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct NodePrograms {
    /// kube-scheduler.
    pub scheduler: PathBuf,
    /// kubelet.
    pub kubelet: PathBuf,
    /// kube-proxy.
    pub kube_proxy: PathBuf,
    /// The name server.
    pub coredns: PathBuf,
}

impl NodePrograms {
    /// Finds all, and builds those that are not there: cold that takes about 3 minutes after the control plane on two
    /// cores.
    ///
    /// # Errors
    /// [`MissingTools`](crate::MissingTools) (to be found with `downcast_ref`) when something must be built and Go is not
    /// installed; anything else when the build fails.
    pub fn find(progress: Progress<'_>) -> Result<Self> {
        let cache = folders::cache()?.join("tools");
        let node = build::ensure(&NODE.pinned()?, NODE.programs, &cache, progress)?;
        let dns = build::ensure(&COREDNS.pinned()?, COREDNS.programs, &cache, progress)?;
        Ok(Self {
            scheduler: node.join("kube-scheduler"),
            kubelet: node.join("kubelet"),
            kube_proxy: node.join("kube-proxy"),
            coredns: dns.join("coredns"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::source::KUBERNETES;

    /// One folder holds both sets: the key must be the same, and no program in both.
    #[test]
    fn node_and_control_plane_are_of_one_version() {
        let (node, plane) = (NODE.pinned().unwrap(), KUBERNETES.pinned().unwrap());
        assert_eq!((node.version, node.files), (plane.version, plane.files));
        let twice = NODE
            .programs
            .iter()
            .find(|one| KUBERNETES.programs.iter().any(|other| other.name == one.name));
        assert!(twice.is_none(), "{twice:?}");
    }

    #[test]
    fn the_name_server_is_pinned_and_a_tool_of_its_module() {
        let pinned = COREDNS.pinned().unwrap();
        assert!(pinned.version.starts_with("v1."), "{}", pinned.version);
        let text = String::from_utf8(pinned.files).unwrap();
        assert!(text.contains("tool github.com/coredns/coredns\n"));
    }
}
