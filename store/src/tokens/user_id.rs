//! Which user a SAML assertion is about (seed L13563-L13635). Pure.

use landbridge_destination::DestinationConfig;
use landbridge_destination::properties::keys;
use landbridge_destination::saml::{EMAIL_ADDRESS, UNSPECIFIED};
use serde_json::Value;

use super::attributes::{has_user_attributes_scope, user_attributes};
use super::claims::{PathError, claim, find, text};

/// No user id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserIdError {
    /// No source has one (seed L13633).
    #[error(
        "user ID could not be determined: neither the user token nor the user attributes have \"{0}\"; correct userIdSource"
    )]
    Undetermined(String),
    /// More cannot be looked at (seed L13622).
    #[error(
        "user ID could not be determined: the user token has no \"{0}\", and without the scope user_attributes its \
         user attributes may not be read; correct userIdSource or ask for that scope"
    )]
    NoScope(String),
    /// Seed L13601.
    #[error(
        "user ID could not be determined: nameIdFormat \"{0}\" does not tell where it is; use {EMAIL_ADDRESS} or \
         {UNSPECIFIED}, or set userIdSource"
    )]
    Format(String),
    /// Seed L13609.
    #[error(
        "user ID could not be determined: the user token has no \"{0}\"; set userIdSource to a field it has"
    )]
    NoClaim(&'static str),
    /// The expression.
    #[error("user ID could not be determined: userIdSource {0}")]
    Source(#[from] PathError),
}

/// The user id: the first of `SystemUser`; a field of the token; a user attribute. `claims` are those of the verified
/// token.
pub(crate) fn user_id(config: &DestinationConfig, claims: &Value) -> Result<String, UserIdError> {
    if let Some(system_user) = config.text(keys::SYSTEM_USER) {
        return Ok(system_user.to_owned());
    }
    match config.text(keys::USER_ID_SOURCE) {
        Some(source) => by_source(claims, source),
        None => by_format(claims, config.text(keys::NAME_ID_FORMAT)),
    }
}

fn by_source(claims: &Value, source: &str) -> Result<String, UserIdError> {
    if let Some(user) = find(claims, source)?.and_then(text) {
        return Ok(user);
    }
    if !has_user_attributes_scope(claims) {
        return Err(UserIdError::NoScope(source.to_owned()));
    }
    let attributes = user_attributes(claims).map(|map| Value::Object(map.clone()));
    let attribute = match &attributes {
        Some(attributes) => find(attributes, source)?.and_then(text),
        None => None,
    };
    attribute.ok_or_else(|| UserIdError::Undetermined(source.to_owned()))
}

fn by_format(claims: &Value, format: Option<&str>) -> Result<String, UserIdError> {
    let name = match format {
        None | Some(UNSPECIFIED) => "user_name",
        Some(EMAIL_ADDRESS) => "email",
        Some(other) => return Err(UserIdError::Format(other.chars().take(100).collect())),
    };
    let found = claims.as_object().and_then(|claims| claim(claims, name));
    found.ok_or(UserIdError::NoClaim(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> DestinationConfig {
        pairs.iter().copied().collect()
    }

    /// T40 (seed L13601-L13616) and the order of the sources (L13563).
    #[test]
    fn formats_t40() {
        let claims = json!({"email": "a@b.example", "user_name": "P1"});
        for (pairs, expected) in [
            (&[][..], "P1"),
            (&[("nameIdFormat", UNSPECIFIED)][..], "P1"),
            (&[("nameIdFormat", EMAIL_ADDRESS)][..], "a@b.example"),
            (&[("SystemUser", "SYS"), ("userIdSource", "email")][..], "SYS"),
            (
                &[("userIdSource", "email"), ("nameIdFormat", "urn:other")][..],
                "a@b.example",
            ),
        ] {
            assert_eq!(
                user_id(&config(pairs), &claims).as_deref(),
                Ok(expected),
                "{pairs:?}"
            );
        }
        let other = user_id(&config(&[("nameIdFormat", "urn:persistent")]), &claims);
        assert_eq!(other, Err(UserIdError::Format("urn:persistent".into())));
        for (pairs, name) in [
            (&[][..], "user_name"),
            (&[("nameIdFormat", EMAIL_ADDRESS)][..], "email"),
        ] {
            let error = user_id(&config(pairs), &json!({})).unwrap_err();
            assert_eq!(error, UserIdError::NoClaim(name));
        }
    }

    /// T41 (seed L13590-L13600, L13617-L13635).
    #[test]
    fn sources_t41() {
        let attributes = json!({"costCenter": ["4711"]});
        let scoped = json!({"user_name": "P1", "scope": ["openid", "user_attributes"], "xs.user.attributes": attributes});
        let plain = json!({"user_name": "P1", "nested": {"id": "N"}, "xs.user.attributes": attributes});
        let id = |claims: &Value, source| user_id(&config(&[("userIdSource", source)]), claims);
        assert_eq!(id(&plain, "$.nested.id").as_deref(), Ok("N"));
        assert_eq!(id(&scoped, "costCenter").as_deref(), Ok("4711"));
        assert_eq!(id(&scoped, "$.costCenter").as_deref(), Ok("4711"));
        for (claims, source) in [(&scoped, "nothing"), (&plain, "costCenter"), (&plain, "$..x")] {
            let error = id(claims, source).unwrap_err().to_string();
            assert!(error.starts_with("user ID could not be determined"), "{error}");
        }
        assert_eq!(
            id(&plain, "costCenter"),
            Err(UserIdError::NoScope("costCenter".into()))
        );
        assert_eq!(
            id(&scoped, "nothing"),
            Err(UserIdError::Undetermined("nothing".into()))
        );
    }
}
