//! Administration of destinations: T02, T03, T10, D3, D4 and everything that is refused.

use landbridge_store::Access;
use serde_json::{Value, json};

use crate::support::{DESTINATIONS, FIND, Folder, Server, config, key, token_of};

/// The two destinations of the seed's list (L13281), with the slash its URL lacks.
fn no_authentication() -> Value {
    json!({"Name": "DemoNoAuth", "Type": "HTTP", "URL": "http://virtualhost:1234", "Authentication": "NoAuthentication", "ProxyType": "OnPremise", "CloudConnectorLocationId": "orlando"})
}

fn basic() -> Value {
    json!({"Name": "DemoBasic", "Type": "HTTP", "URL": "http://virtualhost:1234", "Authentication": "BasicAuthentication", "ProxyType": "Internet", "User": "test", "Password": "pass12345"})
}

#[tokio::test]
async fn create_read_list_replace_delete() {
    let server = Server::start().await;
    assert_eq!(server.call("GET", DESTINATIONS, "").await.json(), json!([]));
    for destination in [no_authentication(), basic()] {
        let created = server.call("POST", DESTINATIONS, &destination.to_string()).await;
        assert_eq!((created.status.as_u16(), created.text.as_str()), (201, ""));
        assert_eq!(
            created.header("etag").len(),
            66,
            "64 hexadecimal digits in quotes"
        );
    }
    // T02, D3: the bare properties in their order.
    let read = server.call("GET", &format!("{DESTINATIONS}/DemoBasic"), "").await;
    assert_eq!((read.status.as_u16(), read.text), (200, basic().to_string()));
    // T03, D4: an array, credentials in clear.
    let list = server.call("GET", DESTINATIONS, "").await;
    assert_eq!(list.json(), json!([basic(), no_authentication()]));
    assert_eq!(list.header("content-type"), "application/json");

    let mut changed = basic();
    changed["Password"] = "other".into();
    changed["extra"] = "kept".into();
    let replaced = server.call("PUT", DESTINATIONS, &changed.to_string()).await;
    assert_eq!(
        (replaced.status.as_u16(), replaced.json()),
        (200, json!({"Count": 1}))
    );
    assert_eq!(
        server
            .call("GET", &format!("{DESTINATIONS}/DemoBasic"), "")
            .await
            .json(),
        changed
    );

    let deleted = server
        .call("DELETE", &format!("{DESTINATIONS}/DemoBasic"), "")
        .await;
    assert_eq!(
        (deleted.status.as_u16(), deleted.json()),
        (200, json!({"Count": 1}))
    );
    for (method, path, body) in [
        ("GET", format!("{DESTINATIONS}/DemoBasic"), String::new()),
        ("DELETE", format!("{DESTINATIONS}/DemoBasic"), String::new()),
        ("PUT", DESTINATIONS.to_owned(), changed.to_string()),
        ("GET", format!("{FIND}/DemoBasic"), String::new()),
    ] {
        let answer = server.call(method, &path, &body).await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert_eq!(
            answer.message(),
            "Configuration with the specified name was not found"
        );
    }
}

#[tokio::test]
async fn duplicates_are_refused_and_leave_the_first() {
    let server = Server::start().await;
    assert_eq!(
        server
            .call("POST", DESTINATIONS, &basic().to_string())
            .await
            .status,
        201
    );
    let mut second = basic();
    second["Password"] = "other".into();
    let answer = server.call("POST", DESTINATIONS, &second.to_string()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.message().as_str()),
        (409, "Duplicate key")
    );
    assert_eq!(
        server
            .call("GET", &format!("{DESTINATIONS}/DemoBasic"), "")
            .await
            .json(),
        basic()
    );
}

#[tokio::test]
async fn arrays_report_each_destination() {
    let server = Server::start().await;
    let both = json!([basic(), no_authentication()]);
    let created = server.call("POST", DESTINATIONS, &both.to_string()).await;
    assert_eq!(created.status, 201);
    let items = created.json();
    assert_eq!(
        (items[0]["name"].as_str(), items[0]["status"].as_u64()),
        (Some("DemoBasic"), Some(201))
    );
    assert_eq!(items[1]["etag"].as_str().unwrap().len(), 64);

    let mixed = json!([basic(), {"Name": "new", "Type": "MAIL"}, {"Name": "bad name", "Type": "MAIL"}]);
    let answer = server.call("POST", DESTINATIONS, &mixed.to_string()).await;
    assert_eq!(answer.status, 207);
    let statuses: Vec<_> = answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [409, 201, 400]);
    assert_eq!(answer.json()[0]["cause"], "Duplicate key");

    let mixed = json!([{"Name": "new", "Type": "MAIL", "a": "b"}, {"Name": "gone", "Type": "MAIL"}]);
    let answer = server.call("PUT", DESTINATIONS, &mixed.to_string()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()[1]["status"].as_u64()),
        (207, Some(404))
    );
    assert_eq!(
        server
            .call("GET", &format!("{DESTINATIONS}/new"), "")
            .await
            .json()["a"],
        "b"
    );
}

#[tokio::test]
async fn bad_destinations_are_refused_with_the_property() {
    let server = Server::start().await;
    let long_name = "a".repeat(201);
    for (body, expected) in [
        (json!({}), "Name"),
        (json!({"Name": "a.b", "Type": "HTTP"}), "Name"),
        (json!({"Name": "\u{e4}", "Type": "MAIL"}), "Name"),
        (json!({"Name": long_name, "Type": "MAIL"}), "200 are allowed"),
        (json!({"Name": "a", "Type": "HTTP", "URL": "x"}), "URL"),
        (
            json!({"Name": "a", "Type": "MAIL", "User": null}),
            "\"User\" is null",
        ),
        (
            json!({"Name": "a", "Type": "MAIL", "b": {"c": 1}}),
            "\"b\" is an object",
        ),
        (json!({"Name": "a", "Type": "MAIL", "b": "x\u{0}"}), "NUL"),
        (
            json!({"Name": "a", "Type": "MAIL", "b": "x".repeat(300_000)}),
            "262144 are allowed",
        ),
        (json!([]), "1 to 1000"),
    ] {
        let answer = server.call("POST", DESTINATIONS, &body.to_string()).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(
            answer.message().contains(expected),
            "{expected}: {}",
            answer.message()
        );
    }
    for body in [
        "",
        "{",
        "hello",
        "{\"Name\":\"a\",\"Name\":\"b\"}",
        &"[".repeat(10_000),
        &"{\"a\":".repeat(10_000),
    ] {
        assert_eq!(
            server.call("POST", DESTINATIONS, body).await.status,
            400,
            "{}",
            &body[..body.len().min(20)]
        );
    }
    let name = "a".repeat(200);
    let longest = json!({"Name": name, "Type": "MAIL"});
    assert_eq!(
        server
            .call("POST", DESTINATIONS, &longest.to_string())
            .await
            .status,
        201,
        "T10"
    );
    let list = server.call("GET", DESTINATIONS, "").await.json();
    assert_eq!(
        list.as_array().unwrap().len(),
        1,
        "nothing of the rest was stored"
    );
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused() {
    let server = Server::start().await;
    let token = server.token().await;
    let request = http::Request::post(server.url(DESTINATIONS))
        .header("authorization", format!("Bearer {token}"))
        .body(bytes::Bytes::from_static(
            b"{\"Name\":\"\xff\xfe\",\"Type\":\"MAIL\"}",
        ))
        .unwrap();
    assert_eq!(crate::support::send(request).await.status, 400);
}

#[tokio::test]
async fn what_is_too_large_or_elsewhere_is_told() {
    let server = Server::start().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20));
    assert_eq!(server.call("POST", DESTINATIONS, &large).await.status, 413);
    let long = format!("{DESTINATIONS}/{}", "x".repeat(4000));
    assert_eq!(server.call("GET", &long, "").await.status, 414);
    let one = format!("{DESTINATIONS}/some");
    let answer = server.call("PATCH", &one, "").await;
    assert_eq!(answer.status, 405);
    assert!(answer.header("allow").contains("DELETE"), "{:?}", answer.headers);
    assert_eq!(server.call("GET", "/nowhere", "").await.status, 404);
    for option in ["$filter=x", "$page=0", "$top=1"] {
        let answer = server.call("GET", &format!("{DESTINATIONS}?{option}"), "").await;
        assert_eq!(answer.status, 400, "{option}");
    }
}

#[tokio::test]
async fn long_lists_are_complete_and_in_order() {
    let server = Server::start().await;
    let all: Vec<Value> = (0..450)
        .map(|n| json!({"Name": format!("d{n:04}"), "Type": "MAIL"}))
        .collect();
    assert_eq!(
        server
            .call("POST", DESTINATIONS, &json!(all).to_string())
            .await
            .status,
        201
    );
    assert_eq!(server.call("GET", DESTINATIONS, "").await.json(), json!(all));
    // Exactly full pages end properly too.
    for n in 400..450 {
        server
            .call("DELETE", &format!("{DESTINATIONS}/d{n:04}"), "")
            .await;
    }
    assert_eq!(
        server.call("GET", DESTINATIONS, "").await.json(),
        json!(all[..400])
    );
}

#[tokio::test]
async fn of_two_writers_one_is_told() {
    let server = Server::start().await;
    let etag = server
        .call("POST", DESTINATIONS, &basic().to_string())
        .await
        .header("etag")
        .to_owned();
    let bearer = format!("Bearer {}", server.token().await);
    let headers = [("authorization", bearer.as_str()), ("if-match", etag.as_str())];
    let body = basic().to_string();
    let (one, two) = tokio::join!(
        server.call_with("PUT", DESTINATIONS, &body, &headers),
        server.call_with("PUT", DESTINATIONS, &body, &headers)
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let path = format!("{DESTINATIONS}/DemoBasic");
    assert_eq!(server.call_with("DELETE", &path, "", &headers).await.status, 412);
}

/// A tenant sees its own destinations only, and cannot tell whether others exist.
#[tokio::test]
async fn tenants_are_apart() {
    let folder = Folder::new();
    let server = Server::start_with(folder.clone(), config(&folder)).await;
    assert_eq!(
        server
            .call("POST", DESTINATIONS, &basic().to_string())
            .await
            .status,
        201
    );
    let other = key(&folder, &server, "sub-2", "k", Access::Full).await;
    let bearer = format!("Bearer {}", token_of(server.address, &other, "").await);
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(
        server.call_with("GET", DESTINATIONS, "", &headers).await.json(),
        json!([])
    );
    for path in [format!("{DESTINATIONS}/DemoBasic"), format!("{FIND}/DemoBasic")] {
        assert_eq!(
            server.call_with("GET", &path, "", &headers).await.status,
            404,
            "{path}"
        );
    }
    assert_eq!(
        server
            .call_with("DELETE", &format!("{DESTINATIONS}/DemoBasic"), "", &headers)
            .await
            .status,
        404
    );
    assert_eq!(
        server
            .call_with("POST", DESTINATIONS, &basic().to_string(), &headers)
            .await
            .status,
        201
    );
    assert_eq!(
        server
            .call("GET", DESTINATIONS, "")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = Server::start().await;
    assert_eq!(
        server
            .call_with("GET", "/token_keys", "", &[])
            .await
            .header("x-request-id")
            .len(),
        36
    );
    let given = [("x-request-id", "abc-1")];
    assert_eq!(
        server
            .call_with("GET", "/nowhere", "", &given)
            .await
            .header("x-request-id"),
        "abc-1"
    );
    let rubbish = "x".repeat(200);
    let given = [("x-request-id", rubbish.as_str())];
    assert_eq!(
        server
            .call_with("GET", "/nowhere", "", &given)
            .await
            .header("x-request-id")
            .len(),
        36
    );
}

#[tokio::test]
async fn the_client_library_speaks_to_it() {
    let server = Server::start().await;
    let client = server.client();
    let destination = serde_json::from_value(basic()).unwrap();
    client.put(&destination).await.unwrap();
    client.put(&destination).await.unwrap();
    assert_eq!(client.list().await.unwrap(), [destination]);
    assert!(client.delete("DemoBasic").await.unwrap());
    assert!(!client.delete("DemoBasic").await.unwrap());
    assert_eq!(client.token_fetches(), 1);
}

/// A tenant that sends its bodies slowly does not stop the others.
#[tokio::test]
async fn slow_bodies_are_a_matter_of_their_tenant() {
    use tokio::io::AsyncWriteExt;
    let folder = Folder::new();
    let mut config = config(&folder);
    config.limits.max_uploads = 1;
    let server = Server::start_with(folder.clone(), config).await;
    let token = server.token().await;
    let mut slow = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {DESTINATIONS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\n\
         expect: 100-continue\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // The store asks for the body: the handler waits for it now.
    slow.readable().await.unwrap();
    let refused = server.call("POST", DESTINATIONS, &basic().to_string()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (503, "1")
    );
    let other = key(&folder, &server, "sub-2", "k", Access::Full).await;
    let bearer = format!("Bearer {}", token_of(server.address, &other, "").await);
    let headers = [("authorization", bearer.as_str())];
    let created = server
        .call_with("POST", DESTINATIONS, &basic().to_string(), &headers)
        .await;
    assert_eq!(created.status, 201);
    drop(slow);
    loop {
        let created = server.call("POST", DESTINATIONS, &basic().to_string()).await;
        if created.status == 201 {
            break;
        }
        assert_eq!(created.status, 503, "{}", created.text);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
