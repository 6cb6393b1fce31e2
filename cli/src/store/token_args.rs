//! Options of the tokens that the store issues.

use clap::Args;
use landbridge_store::TokenAlgorithm;

/// Tokens that the store issues.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct TokenArgs {
    /// How tokens are signed: RS256, which all libraries of the original service read, or ES256, which is faster to make.
    #[arg(long, env = "LANDBRIDGE_STORE_TOKEN_ALGORITHM", value_enum, default_value_t = SignWith::Rs256)]
    pub token_algorithm: SignWith,
    /// Seconds that a token lives (60 to 86400).
    #[arg(long, env = "LANDBRIDGE_STORE_TOKEN_LIFE", default_value_t = 43_200, value_parser = clap::value_parser!(u64).range(60..=86_400))]
    pub token_life: u64,
    /// Days that a key signs tokens before a new one does (1 to 3650). The new one is published an hour earlier.
    #[arg(long, env = "LANDBRIDGE_STORE_SIGNING_KEY_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub signing_key_days: u64,
}

/// A signature of tokens.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum SignWith {
    /// RSA 2048 with SHA-256.
    Rs256,
    /// ECDSA P-256 with SHA-256.
    Es256,
}

impl From<SignWith> for TokenAlgorithm {
    fn from(with: SignWith) -> Self {
        match with {
            SignWith::Rs256 => Self::Rs256,
            SignWith::Es256 => Self::Es256,
        }
    }
}
