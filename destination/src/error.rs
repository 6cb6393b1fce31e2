//! What can go wrong between a client and the store. Every message says what to do.

/// A failed call to the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// 404.
    #[error("the store has no destination \"{name}\"{level}; create it there or correct the name", level = .level.map(|l| format!(" on level {l}")).unwrap_or_default())]
    NotFound {
        /// Name asked for.
        name: String,
        /// Level asked for.
        level: Option<crate::levels::Level>,
    },
    /// 401, from the store or its authorization server, also with a fresh token.
    #[error("{server} refused our credentials ({reason}); check the binding or make a new service key")]
    Unauthorized {
        /// Who.
        server: String,
        /// Its words.
        reason: String,
    },
    /// 403.
    #[error("the store does not permit this ({reason}); use a service key that has the right")]
    Forbidden {
        /// Its words.
        reason: String,
    },
    /// 400, 409, 412, 413, 422: the request itself is wrong.
    #[error("the store refused the request with status {status}: {reason}")]
    BadRequest {
        /// Status.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// The store or its authorization server cannot be reached or is in trouble.
    #[error("{server} is not available: {reason}; check its address in the binding and whether it runs")]
    Unavailable {
        /// Who.
        server: String,
        /// Why.
        reason: String,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// No answer in time.
    #[error("{server} did not answer in time: {reason}; check its load and the network")]
    Timeout {
        /// Who.
        server: String,
        /// Which deadline.
        reason: String,
    },
    /// An answer that is none of a store.
    #[error(
        "{server} gave an answer that cannot be read: {reason}; check that the binding's uri and url are those of a destination service"
    )]
    BadAnswer {
        /// Who.
        server: String,
        /// Why.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { retryable, .. } => *retryable,
            Self::Timeout { .. } => true,
            _ => false,
        }
    }

    /// Whether the destination does not exist, as opposed to everything that hides whether it does.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

impl crate::token_cache::FetchFailure for StoreError {}
