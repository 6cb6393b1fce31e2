//! The programs of a control plane: those of `KUBEBUILDER_ASSETS` where that is set, the others built once from the Go
//! modules that `tests/tools` pins.

mod build;
mod charts;
mod node;
mod source;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{Progress, folders};
use source::{ETCD, KUBERNETES};

pub use build::MissingTools;
pub use charts::{Tool, tool};
pub use node::NodePrograms;

/// Names a folder with ready-made programs, as the test environments of Kubernetes projects have it.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The database.
    pub etcd: PathBuf,
    /// kube-apiserver.
    pub apiserver: PathBuf,
    /// kube-controller-manager.
    pub controller_manager: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
}

impl Programs {
    /// Finds all, and builds those that are not there; cold that takes about 6 minutes on two cores, and seconds once
    /// the compiler's own cache is warm. Only one process builds at a time, others wait for it.
    ///
    /// # Errors
    /// [`MissingTools`] (to be found with `downcast_ref`) when something must be built and Go is not installed; anything
    /// else when `KUBEBUILDER_ASSETS` names no folder, or the build fails.
    pub fn find(progress: Progress<'_>) -> Result<Self> {
        let assets = assets(std::env::var_os(ASSETS_VARIABLE))?;
        let mut found = Vec::new();
        for source in [ETCD, KUBERNETES] {
            let (ready, wanted) = split(source.programs, assets.as_deref());
            found.extend(ready);
            if wanted.is_empty() {
                continue;
            }
            let folder = build::ensure(
                &source.pinned()?,
                &wanted,
                &folders::cache()?.join("tools"),
                progress,
            )?;
            found.extend(
                wanted
                    .into_iter()
                    .map(|program| (program.name, folder.join(program.name))),
            );
        }
        let path = |name: &str| {
            let found = found.iter().find(|(found, _)| *found == name);
            found.map(|(_, path)| path.clone()).unwrap_or_default()
        };
        Ok(Self {
            etcd: path("etcd"),
            apiserver: path("kube-apiserver"),
            controller_manager: path("kube-controller-manager"),
            kubectl: path("kubectl"),
        })
    }

    /// The folders for a `PATH`.
    pub fn folders(&self) -> Vec<&Path> {
        let mut folders: Vec<_> = [
            &self.kubectl,
            &self.apiserver,
            &self.controller_manager,
            &self.etcd,
        ]
        .into_iter()
        .filter_map(|path| path.parent())
        .collect();
        folders.dedup();
        folders
    }
}

fn assets(variable: Option<OsString>) -> Result<Option<PathBuf>> {
    let Some(folder) = variable.filter(|value| !value.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    if !folder.is_dir() {
        bail!(
            "{ASSETS_VARIABLE} is {}, which is no folder: unset it, and the programs are built, or name the folder with \
             etcd, kube-apiserver and kubectl",
            folder.display()
        );
    }
    Ok(Some(folder))
}

type Ready = Vec<(&'static str, PathBuf)>;

/// Programs that are in `assets`, and those that are not.
fn split(programs: &[source::Program], assets: Option<&Path>) -> (Ready, Vec<source::Program>) {
    let mut ready = Vec::new();
    let mut wanted = Vec::new();
    for program in programs {
        match assets.map(|folder| folder.join(program.name)) {
            Some(path) if path.is_file() => ready.push((program.name, path)),
            _ => wanted.push(*program),
        }
    }
    (ready, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_must_be_a_folder() {
        assert!(assets(None).unwrap().is_none());
        assert!(assets(Some("".into())).unwrap().is_none());
        let error = assets(Some("/nonexistent/assets".into()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/assets") && error.contains("unset it"),
            "{error}"
        );
    }

    /// The usual assets have no controller manager: only that one is built.
    #[test]
    fn only_what_is_not_there_is_built() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["kube-apiserver", "kubectl"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let (ready, wanted) = split(KUBERNETES.programs, Some(folder.path()));
        let names =
            |programs: Vec<source::Program>| programs.into_iter().map(|one| one.name).collect::<Vec<_>>();
        assert_eq!(ready.len(), 2);
        assert_eq!(names(wanted), ["kube-controller-manager"]);
        let (ready, wanted) = split(KUBERNETES.programs, None);
        assert_eq!((ready.len(), wanted.len()), (0, 3));
    }
}
