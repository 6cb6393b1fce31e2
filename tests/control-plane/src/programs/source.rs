//! The Go modules that pin what is built.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A program and the Go package it is built from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
}

/// A module below `tests/tools`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// Name of its folder.
    folder: &'static str,
    /// The requirement whose version is that of the programs.
    module: &'static str,
    pub(super) programs: &'static [Program],
    /// More for the linker; `VERSION` stands for the version.
    link: &'static str,
}

pub(super) const ETCD: Source = Source {
    folder: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    programs: &[Program {
        name: "etcd",
        package: "go.etcd.io/etcd/server/v3",
    }],
    link: "",
};

/// Without the numbers it would take the cluster for a Kubernetes 1.20 wherever it has none to ask.
pub(super) const HELM: Source = Source {
    folder: "helm",
    module: "helm.sh/helm/v3",
    programs: &[Program {
        name: "helm",
        package: "helm.sh/helm/v3/cmd/helm",
    }],
    link: " -X helm.sh/helm/v3/internal/version.version=VERSION \
           -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36 \
           -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=36",
};

pub(super) const KUBECONFORM: Source = Source {
    folder: "kubeconform",
    module: "github.com/yannh/kubeconform",
    programs: &[Program {
        name: "kubeconform",
        package: "github.com/yannh/kubeconform/cmd/kubeconform",
    }],
    link: "",
};

pub(super) const KUBERNETES: Source = Source {
    folder: "kubernetes",
    module: "k8s.io/kubernetes",
    programs: &[
        Program {
            name: "kube-apiserver",
            package: "k8s.io/kubernetes/cmd/kube-apiserver",
        },
        Program {
            name: "kube-controller-manager",
            package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        },
        Program {
            name: "kubectl",
            package: "k8s.io/kubernetes/cmd/kubectl",
        },
    ],
    link: "",
};

/// The rest of the same module: what a node runs. Apart, since most suites need no node.
pub(super) const NODE: Source = Source {
    programs: &[
        Program {
            name: "kube-scheduler",
            package: "k8s.io/kubernetes/cmd/kube-scheduler",
        },
        Program {
            name: "kubelet",
            package: "k8s.io/kubernetes/cmd/kubelet",
        },
        Program {
            name: "kube-proxy",
            package: "k8s.io/kubernetes/cmd/kube-proxy",
        },
    ],
    ..KUBERNETES
};

pub(super) const COREDNS: Source = Source {
    folder: "coredns",
    module: "github.com/coredns/coredns",
    programs: &[Program {
        name: "coredns",
        package: "github.com/coredns/coredns",
    }],
    link: "",
};

/// A source with what its files say.
#[derive(Debug)]
pub(super) struct Pinned {
    /// Where go.mod is.
    pub(super) folder: PathBuf,
    /// The folder's, as in `etcd`.
    pub(super) name: &'static str,
    /// As in `v1.36.3`.
    pub(super) version: String,
    /// go.mod and go.sum, which decide every byte of what is built.
    pub(super) files: Vec<u8>,
    /// More for the linker.
    pub(super) link: String,
}

impl Source {
    pub(super) fn pinned(&self) -> Result<Pinned> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tools")
            .join(self.folder);
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let (module, sums) = (read("go.mod")?, read("go.sum")?);
        let version = version(&module, self.module).with_context(|| {
            format!(
                "{}/go.mod requires no version of {}: add it",
                folder.display(),
                self.module
            )
        })?;
        Ok(Pinned {
            name: self.folder,
            version: version.to_owned(),
            link: self.link.replace("VERSION", version),
            files: [module.as_bytes(), sums.as_bytes()].concat(),
            folder,
        })
    }
}

/// The version in the line `require MODULE vX`, or in such a line of a require block.
fn version<'a>(text: &'a str, module: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let line = line.trim_start();
        let rest = line
            .strip_prefix("require ")
            .unwrap_or(line)
            .strip_prefix(module)?;
        let version = rest.strip_prefix(' ')?.split_whitespace().next()?;
        version.starts_with('v').then_some(version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_requirement() {
        let cases = [
            ("require k8s.io/x v1.2.3", Some("v1.2.3")),
            (
                "require (\n\tk8s.io/xy v9.0.0\n\tk8s.io/x v1.2.3 // indirect\n)",
                Some("v1.2.3"),
            ),
            ("replace (\n\tk8s.io/x => k8s.io/x v0.1.0\n)", None),
            ("tool k8s.io/x/cmd/y", None),
        ];
        for (text, expected) in cases {
            assert_eq!(version(text, "k8s.io/x"), expected, "{text}");
        }
    }

    /// All staging modules must carry the patch number of kubernetes itself, or the parts do not fit.
    #[test]
    fn the_committed_modules_are_consistent() {
        assert!(ETCD.pinned().unwrap().version.starts_with("v3.6."));
        let pinned = KUBERNETES.pinned().unwrap();
        let staging = pinned.version.replacen("v1.", "v0.", 1);
        let text = String::from_utf8(pinned.files).unwrap();
        let replaced: Vec<_> = text.lines().filter(|line| line.contains(" => ")).collect();
        assert_eq!(replaced.len(), 33);
        assert!(
            replaced.iter().all(|line| line.ends_with(&format!(" {staging}"))),
            "{staging}"
        );
        for program in KUBERNETES.programs.iter().chain(NODE.programs) {
            assert!(
                text.contains(&format!("{}\n", program.package)),
                "{program:?} is no tool"
            );
        }
    }
}
