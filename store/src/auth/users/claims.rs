//! What a token says of its user.

use serde_json::{Map, Value, json};

/// Claims that only users have.
const OF_USERS: [&str; 6] = [
    "user_name",
    "email",
    "mail",
    "user_uuid",
    "preferred_username",
    "given_name",
];

/// Claims that name the client.
const CLIENTS: [&str; 4] = ["client_id", "cid", "azp", "appid"];

/// Whether a token of any issuer stands for a user. The subject of a token for a client is the client itself; it must
/// never become a user through it.
pub(crate) fn is_user(claims: &Map<String, Value>) -> bool {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    // Ours and XSUAA's, Auth0's, Entra ID's.
    let for_client = text("grant_type") == "client_credentials"
        || text("gty") == "client-credentials"
        || text("idtyp") == "app";
    if for_client {
        return false;
    }
    if OF_USERS.iter().any(|name| !text(name).is_empty()) {
        return true;
    }
    let subject = text("sub");
    // Auth0 writes the client's subject as `<client id>@clients`.
    let subject = subject.strip_suffix("@clients").unwrap_or(subject);
    !subject.is_empty() && !CLIENTS.iter().any(|name| text(name) == subject)
}

/// The claims of a user as tokens of this store have them (the order of seed L12513 for the name), from those of any
/// issuer. `origin` is where the user comes from.
pub(crate) fn user_claims(claims: &Map<String, Value>, origin: Option<&str>) -> Map<String, Value> {
    let first = |names: &[&str]| {
        let texts = names
            .iter()
            .filter_map(|name| claims.get(*name).and_then(Value::as_str));
        texts.into_iter().find(|text| !text.is_empty()).map(str::to_owned)
    };
    let id = first(&["user_uuid", "user_id", "oid", "sub"]);
    let known = [
        (
            "user_name",
            first(&[
                "user_name",
                "preferred_username",
                "email",
                "mail",
                "user_uuid",
                "sub",
            ]),
        ),
        ("email", first(&["email", "mail"])),
        ("user_uuid", id.clone()),
        ("user_id", first(&["user_id", "sub"])),
        ("given_name", first(&["given_name", "first_name"])),
        ("family_name", first(&["family_name", "last_name"])),
        ("origin", origin.map(str::to_owned).or_else(|| first(&["origin"]))),
    ];
    let mut user = Map::new();
    for (name, value) in known {
        if let Some(value) = value {
            user.insert(name.to_owned(), value.into());
        }
    }
    if let Some(time) = claims.get("auth_time").filter(|time| time.is_number()) {
        user.insert("auth_time".to_owned(), time.clone());
    }
    for (name, otherwise) in [
        ("xs.system.attributes", Some("groups")),
        ("xs.user.attributes", None),
    ] {
        match (claims.get(name), otherwise.and_then(|other| claims.get(other))) {
            (Some(value @ Value::Object(_)), _) => {
                user.insert(name.to_owned(), value.clone());
            }
            // Where role collections come from with other providers.
            (_, Some(groups @ Value::Array(_))) => {
                user.insert(name.to_owned(), json!({ "xs.saml.groups": groups }));
            }
            _ => {}
        }
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn clients_are_never_users() {
        for (claims, user) in [
            (json!({ "sub": "u", "azp": "c" }), true),
            (json!({ "sub": "u" }), true),
            (json!({ "sub": "c", "azp": "c" }), false),
            (json!({ "sub": "c", "client_id": "c" }), false),
            (json!({ "sub": "c", "cid": "c" }), false),
            (json!({ "sub": "c", "appid": "c" }), false),
            (json!({ "sub": "c@clients", "azp": "c" }), false),
            (json!({ "sub": "c", "azp": "c", "email": "a@b" }), true),
            (
                json!({ "sub": "u", "email": "a@b", "grant_type": "client_credentials" }),
                false,
            ),
            (json!({ "sub": "u", "gty": "client-credentials" }), false),
            (json!({ "sub": "u", "idtyp": "app" }), false),
            (json!({ "email": "" }), false),
            (json!({}), false),
        ] {
            assert_eq!(is_user(&map(claims.clone())), user, "{claims}");
        }
    }

    #[test]
    fn users_of_any_issuer_have_the_usual_claims() {
        let foreign = map(
            json!({ "sub": "s", "preferred_username": "jane", "mail": "j@example.com", "groups": ["a"],
            "given_name": "Jane", "family_name": "Doe", "auth_time": 5, "scope": "admin", "exp": 1, "zid": "other" }),
        );
        let user = user_claims(&foreign, Some("idp"));
        let expected = json!({ "user_name": "jane", "email": "j@example.com", "user_uuid": "s", "user_id": "s",
            "given_name": "Jane", "family_name": "Doe", "origin": "idp", "auth_time": 5,
            "xs.system.attributes": { "xs.saml.groups": ["a"] } });
        assert_eq!(Value::Object(user.clone()), expected);
        assert_eq!(user_claims(&user, None), user, "once more changes nothing");
        // Seed L12529-L12535.
        let seed = user_claims(&map(json!({ "sub": "test", "email": "test@users.com" })), None);
        assert_eq!(seed["user_name"], "test@users.com");
    }
}
