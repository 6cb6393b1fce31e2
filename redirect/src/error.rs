//! Why redirection cannot be set up, and what to do.

use std::time::Duration;

use rustix::io::Errno;

use crate::settings::SettingsError;

/// Why the kernel's rules cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// No capability NET_ADMIN.
    #[error(
        "{doing}: not permitted; it takes the capability NET_ADMIN (securityContext.capabilities.add: [\"NET_ADMIN\"]), which Pod Security 'baseline' and 'restricted' forbid: allow it in this namespace, or use gateway mode, which needs none"
    )]
    NotPermitted {
        /// What was tried.
        doing: &'static str,
    },
    /// The kernel does not have what the rules need.
    #[error(
        "{doing}: this kernel lacks {missing}; it takes Linux 5.10 or newer with CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, {needed}; use gateway mode on such nodes"
    )]
    Unsupported {
        /// What was tried.
        doing: &'static str,
        /// What is not there.
        missing: &'static str,
        /// Options of the kernel's configuration.
        needed: &'static str,
    },
    /// Others change the packet filter faster than we can follow.
    #[error(
        "{doing}: other programs changed the packet filter at every one of {tries} attempts; it is tried again"
    )]
    Busy {
        /// What was tried.
        doing: &'static str,
        /// How often.
        tries: usize,
    },
    /// The kernel did not answer.
    #[error(
        "{doing}: the kernel did not answer within {} s; another program holds the packet filter (look for a hanging nft or iptables-nft)",
        .after.as_secs()
    )]
    Timeout {
        /// What was tried.
        doing: &'static str,
        /// How long.
        after: Duration,
    },
    /// Too much for one transaction.
    #[error(
        "{doing}: the transaction does not fit into the socket's buffer; raise net.core.wmem_max, or grant NET_ADMIN in the user namespace of this network namespace"
    )]
    TooLarge {
        /// What was tried.
        doing: &'static str,
    },
    /// Anything else that the kernel says.
    #[error("{doing}: {reason} (error {code} of the kernel)")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// In words.
        reason: String,
        /// Its number, errno(3).
        code: i32,
    },
    /// Wrong settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The process is ending.
    #[error("the process ends before the kernel was asked")]
    Ending,
}

impl RedirectError {
    /// What an error of the kernel means to somebody who has to do with it.
    pub(crate) fn kernel(doing: &'static str, needed: &'static str, error: Errno) -> Self {
        let unsupported = |missing| Self::Unsupported {
            doing,
            missing,
            needed,
        };
        match error {
            Errno::PERM => Self::NotPermitted { doing },
            Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => unsupported("netlink for the packet filter"),
            Errno::OPNOTSUPP => unsupported("nf_tables"),
            Errno::NOENT => unsupported("an expression or chain type"),
            Errno::TIMEDOUT | Errno::AGAIN => Self::Timeout {
                doing,
                after: crate::kernel::DEADLINE,
            },
            Errno::MSGSIZE | Errno::NOBUFS => Self::TooLarge { doing },
            other => Self::Kernel {
                doing,
                reason: std::io::Error::from(other).to_string(),
                code: other.raw_os_error(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_kernel_say_what_to_do() {
        for (error, part) in [
            (Errno::PERM, "NET_ADMIN"),
            (Errno::PERM, "gateway mode"),
            (Errno::PROTONOSUPPORT, "CONFIG_NF_TABLES"),
            (Errno::OPNOTSUPP, "lacks nf_tables"),
            (Errno::NOENT, "CONFIG_NFT_TPROXY"),
            (Errno::AGAIN, "did not answer within 5 s"),
            (Errno::MSGSIZE, "net.core.wmem_max"),
            (Errno::NOMEM, "error 12 of the kernel"),
        ] {
            let text = RedirectError::kernel("writing", "CONFIG_NFT_TPROXY", error).to_string();
            assert!(text.starts_with("writing: ") && text.contains(part), "{text}");
        }
    }
}
