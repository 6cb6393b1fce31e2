//! What the store accepts on write. Every mistake is reported, with the property it is in.

use std::fmt;

use url::Url;

use super::keys;
use super::{
    Authentication, DestinationConfig, DestinationKind, MAX_KEY_BYTES, MAX_PROPERTIES, MAX_TOTAL_BYTES,
    MAX_VALUE_BYTES, ProxyType, shorten,
};

/// Longest name of a destination, in characters (seed L5601).
pub const NAME_LIMIT: usize = 200;

/// Most mistakes listed for one destination; a body made of mistakes must not make a long answer.
const MAX_LISTED: usize = 32;

/// One mistake in one property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyProblem {
    /// Name of the property.
    pub property: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for PropertyProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.property, self.message)
    }
}

/// A destination the store does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidDestination {
    problems: Vec<PropertyProblem>,
}

impl InvalidDestination {
    /// The mistakes in the order they were found, at most 32.
    pub fn problems(&self) -> &[PropertyProblem] {
        &self.problems
    }
}

impl fmt::Display for InvalidDestination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidDestination {}

/// Checks a destination's name: ASCII letters, digits, `_` and `-`, 1 to 200 (seed L5600).
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() {
        Err("is missing; give the destination a name".to_owned())
    } else if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        Err(format!(
            "has the character {wrong:?}; use letters a-z, digits, '_' and '-' only"
        ))
    } else if name.len() > NAME_LIMIT {
        Err(format!("has {} characters; {NAME_LIMIT} are allowed", name.len()))
    } else {
        Ok(())
    }
}

#[derive(Default)]
struct Mistakes(Vec<PropertyProblem>);

impl Mistakes {
    fn add(&mut self, property: &str, message: impl fmt::Display) {
        if self.0.len() < MAX_LISTED {
            self.0.push(PropertyProblem {
                property: shorten(property),
                message: message.to_string(),
            });
        }
    }

    fn require(&mut self, config: &DestinationConfig, property: &str, why: &str) {
        if config.text(property).is_none() {
            self.add(property, format_args!("is missing; {why}"));
        }
    }
}

pub(super) fn validate(config: &DestinationConfig) -> Result<(), InvalidDestination> {
    let mut mistakes = Mistakes::default();
    check_sizes(config, &mut mistakes);
    // The raw value: a name is looked up byte by byte, so blanks around it are a mistake and not a detail.
    if let Err(message) = check_name(config.get(keys::NAME).unwrap_or_default()) {
        mistakes.add(keys::NAME, message);
    }
    match (config.text(keys::TYPE), config.kind()) {
        (None, _) => mistakes.add(keys::TYPE, "is missing; use HTTP, RFC, MAIL, LDAP or TCP"),
        (Some(word), None) => mistakes.add(
            keys::TYPE,
            format_args!(
                "\"{}\" is unknown; use HTTP, RFC, MAIL, LDAP or TCP",
                shorten(word)
            ),
        ),
        (Some(_), Some(DestinationKind::Http)) => check_http(config, &mut mistakes),
        (Some(_), Some(DestinationKind::Tcp)) => {
            if let Err(error) = config.address() {
                mistakes.add(keys::ADDRESS, error);
            }
        }
        (Some(_), Some(_)) => {}
    }
    if let ProxyType::Unknown(word) = config.proxy_type() {
        mistakes.add(
            keys::PROXY_TYPE,
            format_args!(
                "\"{}\" is unknown; use Internet, OnPremise or PrivateLink",
                shorten(&word)
            ),
        );
    }
    if mistakes.0.is_empty() {
        Ok(())
    } else {
        Err(InvalidDestination { problems: mistakes.0 })
    }
}

fn check_sizes(config: &DestinationConfig, mistakes: &mut Mistakes) {
    if config.len() > MAX_PROPERTIES {
        mistakes.add(
            "destination",
            format_args!("has {} properties; {MAX_PROPERTIES} are allowed", config.len()),
        );
    }
    let mut total = 0;
    for (key, value) in config.iter() {
        total += key.len() + value.len();
        if key.trim().is_empty() {
            mistakes.add(key, "a property has no name; give it one");
        }
        if key.len() > MAX_KEY_BYTES {
            mistakes.add(
                key,
                format_args!("the name has {} bytes; {MAX_KEY_BYTES} are allowed", key.len()),
            );
        }
        if value.len() > MAX_VALUE_BYTES {
            mistakes.add(
                key,
                format_args!("has {} bytes; {MAX_VALUE_BYTES} are allowed", value.len()),
            );
        }
        if key.chars().any(char::is_control) || value.contains('\0') {
            mistakes.add(key, "has a NUL or control character; remove it");
        }
    }
    if total > MAX_TOTAL_BYTES {
        mistakes.add(
            "destination",
            format_args!("has {total} bytes in all; {MAX_TOTAL_BYTES} are allowed"),
        );
    }
}

fn check_http(config: &DestinationConfig, mistakes: &mut Mistakes) {
    check_url(config, keys::URL, mistakes);
    for addition in config.header_additions() {
        if let Err(error) = addition {
            mistakes.add("URL.headers", error);
        }
    }
    match config.text(keys::AUTHENTICATION) {
        None => mistakes.add(
            keys::AUTHENTICATION,
            "is missing; use NoAuthentication if the target needs none",
        ),
        Some(_) => check_authentication(config, mistakes),
    }
}

fn check_url(config: &DestinationConfig, property: &str, mistakes: &mut Mistakes) {
    let Some(text) = config.text(property) else {
        mistakes.add(property, "is missing; set it to an http:// or https:// address");
        return;
    };
    // Placeholders such as {tenant} stand for a name and are no legal host characters (seed L6967).
    match Url::parse(&text.replace(['{', '}'], "x")) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
        Ok(url) => mistakes.add(
            property,
            format_args!("has the scheme \"{}\"; use http:// or https://", url.scheme()),
        ),
        Err(error) => mistakes.add(
            property,
            format_args!("is no address ({error}); use http://host or https://host"),
        ),
    }
}

fn check_authentication(config: &DestinationConfig, mistakes: &mut Mistakes) {
    use Authentication as A;
    let kind = config.authentication();
    let on_premise = config.proxy_type() == ProxyType::OnPremise;
    match &kind {
        A::Unknown(word) => {
            let known: Vec<&str> = A::ALL.iter().map(A::as_str).collect();
            mistakes.add(
                keys::AUTHENTICATION,
                format_args!(
                    "\"{}\" is unknown; use one of {}",
                    shorten(word),
                    known.join(", ")
                ),
            );
        }
        A::BasicAuthentication => {
            mistakes.require(config, keys::USER, "BasicAuthentication needs it");
            mistakes.require(config, keys::PASSWORD, "BasicAuthentication needs it");
            if config.get(keys::USER).is_some_and(|user| user.contains(':')) {
                mistakes.add(
                    keys::USER,
                    "has a colon, which Basic cannot carry (RFC 7617 section 2)",
                );
            }
        }
        A::ClientCertificateAuthentication => {
            let provided = config.text(keys::KEY_STORE_SOURCE) == Some("ClientProvided");
            if !provided {
                mistakes.require(config, keys::KEY_STORE_LOCATION, "name the certificate to use");
            }
            if on_premise {
                mistakes.add(
                    keys::PROXY_TYPE,
                    "ClientCertificateAuthentication works with Internet or PrivateLink",
                );
            }
        }
        A::PrincipalPropagation | A::OAuth2TechnicalUserPropagation if !on_premise => {
            mistakes.add(keys::PROXY_TYPE, format_args!("{kind} works with OnPremise only"));
        }
        _ => {}
    }
    if kind.asks_token_service() {
        check_token_service(config, &kind, mistakes);
    }
}

fn check_token_service(config: &DestinationConfig, kind: &Authentication, mistakes: &mut Mistakes) {
    check_url(config, keys::TOKEN_SERVICE_URL, mistakes);
    if let Some(word) = config.text(keys::TOKEN_SERVICE_URL_TYPE)
        && !["Dedicated", "Common"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(word))
    {
        mistakes.add(
            keys::TOKEN_SERVICE_URL_TYPE,
            format_args!("\"{}\" is unknown; use Dedicated or Common", shorten(word)),
        );
    }
    let saml = matches!(kind, Authentication::OAuth2SAMLBearerAssertion);
    if saml {
        return;
    }
    mistakes.require(config, keys::CLIENT_ID, &format!("{kind} needs it"));
    if matches!(kind, Authentication::OAuth2Password) {
        mistakes.require(config, keys::USER, "OAuth2Password needs it");
        mistakes.require(config, keys::PASSWORD, "OAuth2Password needs it");
    }
    // No check of clientSecret: a certificate, an assertion or assertion headers of the caller may stand for it
    // (seed L8959, L9837), and public clients have none.
}
