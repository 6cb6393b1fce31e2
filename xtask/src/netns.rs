//! What the step `netns` needs of the machine: network namespaces, as root or in a user namespace.

use std::process::{Command, Stdio};

/// How the tests may have namespaces of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As the user who runs this: root.
    Directly,
    /// In a user namespace, in which that user is root.
    AsRootOfItsOwn,
}

/// The program of a test is started by these words, and then by its own.
const UNSHARE: [&str; 3] = ["unshare", "--user", "--map-root-user"];

/// Tries both, the better one first.
pub(crate) fn possible() -> Option<Way> {
    // Rules and addresses are what the tests make; a namespace without the right to do so is of no use.
    let works = |words: &[&str]| {
        let mut words = words
            .iter()
            .chain(&["unshare", "--net", "nft", "list", "ruleset"]);
        let first = words.next().copied().unwrap_or_default();
        let mut command = Command::new(first);
        command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if works(&[]) {
        Some(Way::Directly)
    } else {
        works(&UNSHARE).then_some(Way::AsRootOfItsOwn)
    }
}

impl Way {
    /// Options for cargo, so that it starts the tests like this.
    pub(crate) fn options(self) -> Vec<String> {
        match self {
            Self::Directly => Vec::new(),
            Self::AsRootOfItsOwn => {
                let words = UNSHARE.map(|word| format!("\"{word}\"")).join(",");
                vec!["--config".into(), format!("target.'cfg(unix)'.runner=[{words}]")]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_started_by_another_program_only_where_that_is_needed() {
        assert!(Way::Directly.options().is_empty());
        assert_eq!(
            Way::AsRootOfItsOwn.options(),
            [
                "--config",
                "target.'cfg(unix)'.runner=[\"unshare\",\"--user\",\"--map-root-user\"]"
            ]
        );
    }
}
