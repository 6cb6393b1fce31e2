//! Destinations and fragments on both levels, written and read by REST.

use landbridge_destination::Binding;
use landbridge_store::{Access, Credential, NewKey, Permissions};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::{Answer, DESTINATIONS, FIND, Server, admin, key, token_of};

pub(crate) const INSTANCE: &str = "/destination-configuration/v1/instanceDestinations";
pub(crate) const FRAGMENTS: &str = "/destination-configuration/v1/subaccountDestinationFragments";
pub(crate) const INSTANCE_FRAGMENTS: &str = "/destination-configuration/v1/instanceDestinationFragments";

pub(crate) fn destination(name: &str, url: &str) -> Value {
    json!({"Name": name, "Type": "HTTP", "URL": url, "ProxyType": "Internet", "Authentication": "NoAuthentication"})
}

/// Creates, and expects success.
pub(crate) async fn create(server: &Server, path: &str, thing: &Value) {
    let answer = server.call("POST", path, &thing.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

/// A key of another instance of the server's tenant.
async fn other_instance(server: &Server) -> Binding {
    let admin = admin(server).await;
    admin.create_instance("sub-1", "other").await.unwrap();
    let address = format!("http://{}", server.address);
    let new = NewKey {
        subaccount: "sub-1",
        instance: Some("other"),
        name: "k",
        address: &address,
        permissions: Permissions::Access(Access::Full),
        credential: Credential::Secret,
    };
    let json = admin.create_key(&new).await.unwrap();
    admin.close().await;
    Binding::from_json(json.expose_secret()).unwrap()
}

async fn call_as(server: &Server, binding: &Binding, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {}", token_of(server.address, binding, "").await);
    server
        .call_with(method, path, body, &[("authorization", &bearer)])
        .await
}

#[tokio::test]
async fn the_instance_comes_before_the_subaccount_d6_t06() {
    let server = Server::start().await;
    create(&server, DESTINATIONS, &destination("d", "http://subaccount")).await;
    create(&server, INSTANCE, &destination("d", "http://instance")).await;
    let found = async || {
        let found = server.call("GET", &format!("{FIND}/d"), "").await.json();
        (
            found["destinationConfiguration"]["URL"].clone(),
            found["owner"].clone(),
        )
    };
    let (url, owner) = found().await;
    assert_eq!(url, "http://instance");
    assert_eq!(owner["SubaccountId"], "sub-1");
    assert!(owner["InstanceId"].is_string());

    // Each level has its own.
    for (path, url) in [(DESTINATIONS, "http://subaccount"), (INSTANCE, "http://instance")] {
        let one = server.call("GET", &format!("{path}/d"), "").await;
        assert_eq!(one.json()["URL"], url);
        assert_eq!(
            server
                .call("GET", path, "")
                .await
                .json()
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
    // Another instance of the tenant sees the subaccount's only.
    let other = other_instance(&server).await;
    let theirs = call_as(&server, &other, "GET", &format!("{FIND}/d"), "").await;
    assert_eq!(
        theirs.json()["destinationConfiguration"]["URL"],
        "http://subaccount"
    );
    for (method, path) in [
        ("GET", format!("{INSTANCE}/d")),
        ("DELETE", format!("{INSTANCE}/d")),
    ] {
        assert_eq!(call_as(&server, &other, method, &path, "").await.status, 404);
    }

    let deleted = server.call("DELETE", &format!("{INSTANCE}/d"), "").await;
    assert_eq!(
        (deleted.status.as_u16(), deleted.json()),
        (200, json!({"Count": 1}))
    );
    assert_eq!(
        found().await,
        (
            json!("http://subaccount"),
            json!({"SubaccountId": "sub-1", "InstanceId": null})
        )
    );
}

#[tokio::test]
async fn fragments_are_written_read_and_merged_on_both_levels() {
    let server = Server::start().await;
    for (fragments, destinations) in [(FRAGMENTS, DESTINATIONS), (INSTANCE_FRAGMENTS, INSTANCE)] {
        create(&server, destinations, &destination("d", "http://host")).await;
        create(
            &server,
            fragments,
            &json!({"FragmentName": "f", "URL": "http://fragment"}),
        )
        .await;
        let again = server.call("POST", fragments, r#"{"FragmentName": "f"}"#).await;
        assert_eq!(
            (again.status.as_u16(), again.message()),
            (409, "Duplicate key".to_owned())
        );
        let replaced = server
            .call(
                "PUT",
                fragments,
                r#"{"FragmentName": "f", "URL": "http://other"}"#,
            )
            .await;
        assert_eq!(
            (replaced.status.as_u16(), replaced.json()),
            (200, json!({"Count": 1}))
        );
        let read = server.call("GET", &format!("{fragments}/f"), "").await;
        assert_eq!(read.json(), json!({"FragmentName": "f", "URL": "http://other"}));
        assert_eq!(
            server.call("GET", fragments, "").await.json(),
            json!([read.json()])
        );
        let bearer = format!("Bearer {}", server.token().await);
        let found = server
            .call_with(
                "GET",
                &format!("{FIND}/d"),
                "",
                &[("authorization", &bearer), ("x-fragment-name", "f")],
            )
            .await
            .json();
        assert_eq!(
            found["destinationConfiguration"]["URL"], "http://other",
            "{fragments}"
        );
    }
    for (body, word) in [
        (r#"{"URL": "x"}"#, "FragmentName"),
        (r#"{"FragmentName": "g", "Name": "d"}"#, "Name"),
        (r#"{"FragmentName": "g", "Type": "HTTP"}"#, "Type"),
        (r#"{"FragmentName": "a b"}"#, "FragmentName"),
        (r#"{"FragmentName": "g", "x": [1]}"#, "\"x\""),
    ] {
        let refused = server.call("POST", FRAGMENTS, body).await;
        assert_eq!(refused.status.as_u16(), 400, "{body}");
        assert!(refused.message().contains(word), "{}", refused.message());
    }
    assert_eq!(
        server.call("DELETE", &format!("{FRAGMENTS}/f"), "").await.status,
        200
    );
    assert_eq!(
        server.call("DELETE", &format!("{FRAGMENTS}/f"), "").await.status,
        404
    );
}

/// What another tenant has is not there; what a key may not do says which scope it lacks.
#[tokio::test]
async fn strangers_see_nothing_and_readers_write_nothing() {
    let server = Server::start().await;
    let thing = json!({"FragmentName": "f", "URL": "x"});
    create(&server, FRAGMENTS, &thing).await;
    create(&server, INSTANCE, &destination("d", "http://host")).await;
    let stranger = key(&server.folder, &server, "sub-2", "k", Access::Full).await;
    let reader = key(&server.folder, &server, "sub-1", "reader", Access::ReadOnly).await;
    for path in [
        format!("{FRAGMENTS}/f"),
        format!("{INSTANCE}/d"),
        format!("{FRAGMENTS}/f/labels"),
        format!("{INSTANCE}/d/labels"),
    ] {
        assert_eq!(
            call_as(&server, &stranger, "GET", &path, "").await.status,
            404,
            "{path}"
        );
        assert_eq!(
            call_as(&server, &stranger, "PUT", &format!("{FRAGMENTS}/f/labels"), "[]")
                .await
                .status,
            404
        );
    }
    for (method, path, body) in [
        ("POST", FRAGMENTS.to_owned(), thing.to_string()),
        ("PATCH", INSTANCE.to_owned(), r#"{"Name": "d"}"#.to_owned()),
        (
            "DELETE",
            format!("{INSTANCE}?$filter=Name%20in%20('d')"),
            String::new(),
        ),
        ("PUT", format!("{INSTANCE}/d/labels"), "[]".to_owned()),
    ] {
        let refused = call_as(&server, &reader, method, &path, &body).await;
        assert_eq!(refused.status.as_u16(), 403, "{method} {path}");
        assert!(
            refused.message().contains("destination.write"),
            "{}",
            refused.message()
        );
    }
}

#[tokio::test]
async fn several_are_deleted_by_name() {
    let server = Server::start().await;
    let all: Vec<_> = ["a", "b", "c"]
        .map(|name| destination(name, "http://host"))
        .into();
    create(&server, DESTINATIONS, &json!(all)).await;
    let deleted = server
        .call(
            "DELETE",
            &format!("{DESTINATIONS}?$filter=Name%20in%20('a','nothing','c')"),
            "",
        )
        .await;
    let expected = json!({"Count": 2, "Summary": [
        {"name": "a", "status": "DELETED"}, {"name": "nothing", "status": "NOT_FOUND"}, {"name": "c", "status": "DELETED"},
    ]});
    assert_eq!((deleted.status.as_u16(), deleted.json()), (200, expected));
    let left = server
        .call("GET", &format!("{DESTINATIONS}?$select=Name"), "")
        .await;
    assert_eq!(left.json(), json!([{"Name": "b"}]));
    for query in [
        "",
        "?$filter=startswith(Name,%20'b')",
        "?$select=Name",
        "?$page=1",
    ] {
        let refused = server.call("DELETE", &format!("{DESTINATIONS}{query}"), "").await;
        assert_eq!(refused.status.as_u16(), 400, "{query}");
        assert!(
            refused.message().contains("$filter=Name in ("),
            "{}",
            refused.message()
        );
    }
}

/// The text is the one that administrators of the original service know (later API).
#[tokio::test]
async fn what_others_get_assertions_from_stays() {
    let server = Server::start().await;
    let provider = json!({"Name": "provider", "Type": "HTTP", "URL": "http://host", "ProxyType": "Internet",
        "Authentication": "OAuth2ClientCredentials", "clientId": "c", "clientSecret": "s",
        "tokenServiceURL": "http://tokens/oauth/token",
        "clientAssertion.type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"});
    let mut user = destination("user", "http://host");
    user["Authentication"] = json!("OAuth2ClientCredentials");
    user["clientId"] = json!("c");
    user["tokenServiceURL"] = json!("http://tokens/oauth/token");
    user["clientAssertion.destinationName"] = json!("provider");
    create(&server, DESTINATIONS, &json!([provider, user])).await;
    for path in [
        format!("{DESTINATIONS}/provider"),
        format!("{DESTINATIONS}?$filter=Name%20in%20('provider')"),
    ] {
        let refused = server.call("DELETE", &path, "").await;
        assert_eq!(
            (refused.status.as_u16(), refused.message().as_str()),
            (
                400,
                "Cannot perform operation on the destination 'provider' because it is used as an assertion provider for \
                 destination 'user'"
            )
        );
    }
    let both = format!("{DESTINATIONS}?$filter=Name%20in%20('provider','user')");
    assert_eq!(server.call("DELETE", &both, "").await.json()["Count"], 2);
}

/// Clients send back what they read, `$metadata` included.
#[tokio::test]
async fn metadata_is_no_property() {
    let server = Server::start().await;
    for (name, metadata) in [("a", json!({"etag": "x", "labels": []})), ("b", json!("text"))] {
        let plain = destination(name, "http://host");
        let mut sent = plain.clone();
        sent["$metadata"] = metadata;
        create(&server, DESTINATIONS, &sent).await;
        for method in ["PUT", "PATCH"] {
            let changed = server.call(method, DESTINATIONS, &sent.to_string()).await;
            assert!(changed.status.is_success(), "{}", changed.text);
        }
        let read = server.call("GET", &format!("{DESTINATIONS}/{name}"), "").await;
        assert_eq!(read.json(), plain);
    }
}
