//! The levels a destination, fragment or certificate can live on.
//!
//! Version 1 of the find call searches instance first, then subaccount (seed L13206, L11461); a named level
//! switches that fallback off.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One place where the store keeps destinations. Wire form: the lower-case words of the version 2 consume call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The subaccount of the caller's token.
    Subaccount,
    /// The service instance of the caller's token.
    Instance,
    /// The subaccount that owns the service instance, whoever the token speaks for.
    ProviderSubaccount,
    /// The service instance itself in its provider's subaccount.
    ProviderInstance,
}

/// A level word that is none of the four.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no level: use subaccount, instance, provider_subaccount or provider_instance")]
pub struct UnknownLevel(pub String);

impl Level {
    /// The word used in headers, paths and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subaccount => "subaccount",
            Self::Instance => "instance",
            Self::ProviderSubaccount => "provider_subaccount",
            Self::ProviderInstance => "provider_instance",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "subaccount" => Ok(Self::Subaccount),
            "instance" => Ok(Self::Instance),
            "provider_subaccount" => Ok(Self::ProviderSubaccount),
            "provider_instance" => Ok(Self::ProviderInstance),
            other => Err(UnknownLevel(other.chars().take(64).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_survives_text_and_json() {
        for level in [
            Level::Subaccount,
            Level::Instance,
            Level::ProviderSubaccount,
            Level::ProviderInstance,
        ] {
            assert_eq!(level.as_str().parse::<Level>(), Ok(level));
            let json = serde_json::to_string(&level).unwrap();
            assert_eq!(json, format!("\"{level}\""));
            assert_eq!(serde_json::from_str::<Level>(&json).unwrap(), level);
        }
    }

    #[test]
    fn unknown_level_names_the_choices() {
        let error = "Subaccount".parse::<Level>().unwrap_err();
        assert!(error.to_string().contains("provider_instance"), "{error}");
    }
}
