//! What the step `netns` needs of the machine: network namespaces, as root or in a user namespace.

use std::process::{Command, Stdio};

/// How the tests may have namespaces of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As the user who runs this: root.
    Directly,
    /// In a user namespace, in which that user is root and others exist, too (`/etc/subuid`).
    AsRootOfItsOwn,
    /// In a user namespace without anybody else: nothing that needs a proxy with a user of its own.
    AsRootAlone,
}

/// The better one first.
const WAYS: [Way; 3] = [Way::Directly, Way::AsRootOfItsOwn, Way::AsRootAlone];

/// Tries them. Rules and addresses are what the tests make: a namespace without the right to do so is of no use.
pub(crate) fn possible() -> Option<Way> {
    WAYS.into_iter().find(|way| {
        let mut words = way.words().to_vec();
        words.extend(["unshare", "--net", "nft", "list", "ruleset"]);
        let Some((first, rest)) = words.split_first() else {
            return false;
        };
        let mut command = Command::new(first);
        command.args(rest).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

impl Way {
    /// What the program of the tests is started by.
    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Directly => &[],
            Self::AsRootOfItsOwn => &["unshare", "--user", "--map-root-user", "--map-auto"],
            Self::AsRootAlone => &["unshare", "--user", "--map-root-user"],
        }
    }

    /// Options for cargo, so that it starts the tests like this.
    pub(crate) fn options(self) -> Vec<String> {
        let words: Vec<_> = self.words().iter().map(|word| format!("\"{word}\"")).collect();
        if words.is_empty() {
            return Vec::new();
        }
        vec![
            "--config".into(),
            format!("target.'cfg(unix)'.runner=[{}]", words.join(",")),
        ]
    }

    /// Options for the tests' program.
    pub(crate) const fn left_out(self) -> &'static [&'static str] {
        match self {
            Self::Directly | Self::AsRootOfItsOwn => &[],
            Self::AsRootAlone => &["--", "--skip", "sidecar"],
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
            Way::AsRootAlone.options(),
            [
                "--config",
                "target.'cfg(unix)'.runner=[\"unshare\",\"--user\",\"--map-root-user\"]"
            ]
        );
        assert!(Way::AsRootOfItsOwn.left_out().is_empty());
    }
}
