//! Attributes of the user in SAML assertions (seed L13639-L13674). Pure.
//!
//! The original service reads them from the user info of its identity service. Here the verified token stands for it:
//! what that answer has at its root are claims of the token, and the user attributes are a claim of their own.

use landbridge_destination::DestinationConfig;
use landbridge_destination::properties::keys;
use landbridge_destination::saml::Attribute;
use serde_json::{Map, Value};

use super::claims::text;

/// Elements at the root of a user info answer (OpenID Connect Core section 5.1 and those of the platform).
const ROOT: [&str; 11] = [
    "sub",
    "user_id",
    "user_name",
    "name",
    "given_name",
    "family_name",
    "email",
    "email_verified",
    "phone_number",
    "previous_logon_time",
    "origin",
];

/// Claims that hold the user attributes; the first that is there counts.
const USER_ATTRIBUTES: [&str; 2] = ["user_attributes", "xs.user.attributes"];

/// Element with the groups of the user at the identity provider, in either place (seed L13668).
const GROUPS: &str = "xs.saml.groups";

/// Custom attributes of the user.
pub(crate) fn user_attributes(claims: &Value) -> Option<&Map<String, Value>> {
    USER_ATTRIBUTES
        .iter()
        .find_map(|name| claims.get(name)?.as_object())
}

/// Whether the token has the scope that custom attributes need (seed L13553). Scopes of one's own application come with
/// its name before them.
pub(crate) fn has_user_attributes_scope(claims: &Value) -> bool {
    let is = |scope: &str| scope == "user_attributes" || scope.ends_with(".user_attributes");
    match claims.get("scope") {
        Some(Value::Array(scopes)) => scopes.iter().filter_map(Value::as_str).any(is),
        Some(Value::String(scopes)) => scopes.split(' ').any(is),
        _ => false,
    }
}

/// The attributes of an assertion about the user of these claims.
pub(crate) fn attributes(config: &DestinationConfig, claims: &Value) -> Vec<Attribute> {
    let mut all = Vec::new();
    if let Some(key) = config.text(keys::API_KEY) {
        push(&mut all, "api_key".to_owned(), vec![key.to_owned()]);
    }
    let user_uuid = (!config.flag(keys::SKIP_USER_UUID).unwrap_or(false)).then_some("user_uuid");
    for name in ROOT.into_iter().chain(user_uuid) {
        push(
            &mut all,
            name.to_owned(),
            claims.get(name).map(values).unwrap_or_default(),
        );
    }
    let bare = config.flag(keys::SKIP_ATTRIBUTES_PREFIX).unwrap_or(false);
    for (name, value) in user_attributes(claims).into_iter().flatten() {
        if name == GROUPS {
            continue;
        }
        let name = if bare {
            name.clone()
        } else {
            format!("user_attributes.{name}")
        };
        push(&mut all, name, values(value));
    }
    push(&mut all, "Groups".to_owned(), groups(claims));
    all
}

/// An attribute without values is left out, and a name stands once: the first keeps it.
fn push(all: &mut Vec<Attribute>, name: String, values: Vec<String>) {
    if !values.is_empty() && all.iter().all(|attribute| attribute.name != name) {
        all.push(Attribute { name, values });
    }
}

fn groups(claims: &Value) -> Vec<String> {
    let mut groups = Vec::new();
    for place in ["xs.system.attributes", "user_attributes"] {
        let found = claims.get(place).and_then(|place| place.get(GROUPS));
        for group in found.map(values).unwrap_or_default() {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
    }
    groups
}

/// A list is many values; what is no text is its JSON.
fn values(value: &Value) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::Null => None,
        Value::Array(_) | Value::Object(_) => Some(value.to_string()),
        value => text(value),
    };
    match value {
        Value::Array(list) => list.iter().filter_map(one).collect(),
        value => one(value).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(pairs: &[(&str, &str)], claims: &Value) -> Vec<(String, Vec<String>)> {
        let config: DestinationConfig = pairs.iter().copied().collect();
        attributes(&config, claims)
            .into_iter()
            .map(|attribute| (attribute.name, attribute.values))
            .collect()
    }

    fn expected(pairs: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        pairs
            .iter()
            .map(|(name, values)| {
                (
                    (*name).to_owned(),
                    values.iter().map(|value| (*value).to_owned()).collect(),
                )
            })
            .collect()
    }

    /// T42 (seed L13653-L13662).
    #[test]
    fn user_attributes_t42() {
        let claims = json!({
            "email": "a@b.example", "email_verified": true, "exp": 1, "scope": ["x"], "user_uuid": "u-1",
            "user_attributes": {"my_param": "my_value", "many": ["a", 2], "none": [], "deep": {"x": 1}},
        });
        let root: &[(&str, &[&str])] = &[
            ("email", &["a@b.example"]),
            ("email_verified", &["true"]),
            ("user_uuid", &["u-1"]),
        ];
        let prefixed: &[(&str, &[&str])] = &[
            ("user_attributes.my_param", &["my_value"]),
            ("user_attributes.many", &["a", "2"]),
            ("user_attributes.deep", &["{\"x\":1}"]),
        ];
        assert_eq!(of(&[], &claims), expected(&[root, prefixed].concat()));
        let skip = [
            ("skipUserAttributesPrefixInSAMLAttributes", "TRUE"),
            ("skipUserUuidInSAMLAttributes", "true"),
        ];
        let bare: &[(&str, &[&str])] = &[
            ("my_param", &["my_value"]),
            ("many", &["a", "2"]),
            ("deep", &["{\"x\":1}"]),
        ];
        assert_eq!(of(&skip, &claims), expected(&[&root[..2], bare].concat()));
    }

    /// T43 (seed L13664-L13674): from both places, each once.
    #[test]
    fn groups_t43() {
        let claims = json!({
            "xs.system.attributes": {"xs.saml.groups": ["admin", "dev"]},
            "user_attributes": {"xs.saml.groups": ["dev", "ops"]},
        });
        let groups: &[(&str, &[&str])] = &[("Groups", &["admin", "dev", "ops"])];
        assert_eq!(of(&[], &claims), expected(groups));
        let key: &[(&str, &[&str])] = &[("api_key", &["k"])];
        assert_eq!(of(&[("apiKey", "k")], &json!({})), expected(key), "seed L7223");
    }

    #[test]
    fn scopes_in_both_forms() {
        for (claims, has) in [
            (json!({"scope": ["openid", "user_attributes"]}), true),
            (json!({"scope": "openid user_attributes"}), true),
            (json!({"scope": ["app!t1.user_attributes"]}), true),
            (json!({"scope": ["my_user_attributes"]}), false),
            (json!({}), false),
        ] {
            assert_eq!(has_user_attributes_scope(&claims), has, "{claims}");
        }
    }
}
