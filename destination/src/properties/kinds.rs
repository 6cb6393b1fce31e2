//! The closed and half-closed sets of words among the property values.

use std::fmt;
use std::str::FromStr;

/// `Type` of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DestinationKind {
    /// HTTP and HTTPS.
    Http,
    /// Remote function calls; stored, not carried.
    Rfc,
    /// SMTP, POP3, IMAP; stored, not carried.
    Mail,
    /// LDAP.
    Ldap,
    /// Any TCP protocol.
    Tcp,
}

impl DestinationKind {
    /// All kinds, for messages.
    pub const ALL: [Self; 5] = [Self::Http, Self::Rfc, Self::Mail, Self::Ldap, Self::Tcp];

    /// The word in `Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Rfc => "RFC",
            Self::Mail => "MAIL",
            Self::Ldap => "LDAP",
            Self::Tcp => "TCP",
        }
    }
}

impl fmt::Display for DestinationKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for DestinationKind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(word))
            .ok_or(())
    }
}

/// `ProxyType` of a destination (seed L6620).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProxyType {
    /// Reached directly.
    Internet,
    /// Reached through a connector.
    OnPremise,
    /// A private endpoint of the platform; reached directly.
    PrivateLink,
    /// A word this version does not know.
    Unknown(String),
}

impl ProxyType {
    /// The word in `ProxyType`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Internet => "Internet",
            Self::OnPremise => "OnPremise",
            Self::PrivateLink => "PrivateLink",
            Self::Unknown(word) => word,
        }
    }
}

impl From<&str> for ProxyType {
    fn from(word: &str) -> Self {
        [Self::Internet, Self::OnPremise, Self::PrivateLink]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(word))
            .unwrap_or_else(|| Self::Unknown(word.to_owned()))
    }
}

impl fmt::Display for ProxyType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Declares the authentication kinds once: variant, word, documentation.
macro_rules! authentication_kinds {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// `Authentication` of a destination (seed L6647). Each variant is spelled as the property value.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Authentication {
            $($(#[$doc])* $variant,)*
            /// A word this version does not know.
            Unknown(String),
        }

        impl Authentication {
            /// All known kinds, for messages.
            pub const ALL: &'static [Authentication] = &[$(Authentication::$variant,)*];

            /// The word in `Authentication`.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for Authentication {
            fn from(word: &str) -> Self {
                match word {
                    $(stringify!($variant) => Self::$variant,)*
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }
    };
}

authentication_kinds! {
    /// None.
    NoAuthentication,
    /// User and password (RFC 7617).
    BasicAuthentication,
    /// TLS client certificate.
    ClientCertificateAuthentication,
    /// The caller's identity, handed to the connector.
    PrincipalPropagation,
    /// RFC 7522.
    OAuth2SAMLBearerAssertion,
    /// RFC 6749 section 4.4.
    OAuth2ClientCredentials,
    /// The caller's token, exchanged.
    OAuth2UserTokenExchange,
    /// Logon ticket, deprecated.
    SAPAssertionSSO,
    /// RFC 6749 section 4.3.
    OAuth2Password,
    /// RFC 7523.
    OAuth2JWTBearer,
    /// RFC 8693.
    OAuth2TokenExchange,
    /// A SAML assertion sent to the target itself.
    SAMLAssertion,
    /// RFC 6749 section 6.
    OAuth2RefreshToken,
    /// RFC 6749 section 4.1.
    OAuth2AuthorizationCode,
    /// A technical user, handed to the connector.
    OAuth2TechnicalUserPropagation,
}

impl Authentication {
    /// Whether the store answers a find call with `authTokens` for this kind (seed L13393).
    pub fn has_tokens(&self) -> bool {
        !matches!(
            self,
            Self::NoAuthentication | Self::ClientCertificateAuthentication | Self::PrincipalPropagation
        )
    }

    /// Whether the kind asks a token service, hence needs `tokenServiceURL`.
    pub fn asks_token_service(&self) -> bool {
        matches!(
            self,
            Self::OAuth2SAMLBearerAssertion
                | Self::OAuth2ClientCredentials
                | Self::OAuth2UserTokenExchange
                | Self::OAuth2Password
                | Self::OAuth2JWTBearer
                | Self::OAuth2TokenExchange
                | Self::OAuth2RefreshToken
                | Self::OAuth2AuthorizationCode
                | Self::OAuth2TechnicalUserPropagation
        )
    }

    /// Whether the kind needs the token of the calling user.
    pub fn needs_user_token(&self) -> bool {
        matches!(
            self,
            Self::PrincipalPropagation
                | Self::OAuth2SAMLBearerAssertion
                | Self::OAuth2UserTokenExchange
                | Self::OAuth2JWTBearer
                | Self::SAMLAssertion
                | Self::SAPAssertionSSO
        )
    }
}

impl fmt::Display for Authentication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
