//! The programs that charts are checked and installed with. Apart from those of the control plane: whoever needs one does
//! not wait for the others.

use std::path::PathBuf;

use anyhow::Result;

use super::build;
use super::source::{HELM, KUBECONFORM, Source};
use crate::{Progress, folders};

/// A program that stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Renders and installs charts.
    Helm,
    /// Compares manifests with schemas.
    Kubeconform,
}

impl Tool {
    fn source(self) -> Source {
        match self {
            Self::Helm => HELM,
            Self::Kubeconform => KUBECONFORM,
        }
    }
}

/// Where the program is; built first where it has not been (helm: a minute and a half cold, on two cores).
///
/// # Errors
/// [`MissingTools`](crate::MissingTools) (to be found with `downcast_ref`) when it must be built and Go is not installed;
/// anything else when the build fails.
pub fn tool(tool: Tool, progress: Progress<'_>) -> Result<PathBuf> {
    let source = tool.source();
    let cache = folders::cache()?.join("tools");
    let folder = build::ensure(&source.pinned()?, source.programs, &cache, progress)?;
    let name = source.programs.first().map_or("", |program| program.name);
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_pinned_and_a_tool_of_its_module() {
        for (tool, version) in [(Tool::Helm, "v3."), (Tool::Kubeconform, "v0.")] {
            let pinned = tool.source().pinned().unwrap();
            assert!(pinned.version.starts_with(version), "{}", pinned.version);
            let text = String::from_utf8(pinned.files).unwrap();
            let package = tool.source().programs[0].package;
            assert!(text.contains(&format!("tool {package}\n")), "{tool:?}");
        }
        let link = Tool::Helm.source().pinned().unwrap().link;
        assert!(
            link.contains("version.version=v3.") && !link.contains("VERSION"),
            "{link}"
        );
    }
}
