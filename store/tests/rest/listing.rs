//! Lists: filters, names only, pages with their headers, metadata (later API).

use serde_json::{Value, json};

use crate::support::{Answer, DESTINATIONS, Server};

fn destination(name: &str) -> Value {
    json!({"Name": name, "Type": "HTTP", "URL": "http://host", "ProxyType": "Internet", "Authentication": "NoAuthentication"})
}

async fn with(names: &[String]) -> Server {
    let server = Server::start().await;
    let all: Vec<_> = names.iter().map(|name| destination(name)).collect();
    if !all.is_empty() {
        let created = server.call("POST", DESTINATIONS, &json!(all).to_string()).await;
        assert_eq!(created.status, 201, "{}", created.text);
    }
    server
}

async fn ask(server: &Server, query: &str) -> Answer {
    let query = query.replace(' ', "%20");
    server.call("GET", &format!("{DESTINATIONS}?{query}"), "").await
}

fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let list = answer.json();
    let name = |entry: &Value| entry["Name"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn filters_let_through_what_they_say() {
    let server = with(&["alpha", "beta", "alpine", "gamma"].map(str::to_owned)).await;
    for (filter, expected) in [
        (
            "Name in ('gamma','alpha','nothing','alpha')",
            vec!["alpha", "gamma"],
        ),
        ("Name in ('%2561lpha')", vec!["alpha"]),
        ("startswith(Name, 'alp')", vec!["alpha", "alpine"]),
        ("endswith(Name, 'a')", vec!["alpha", "beta", "gamma"]),
        ("endswith(Name, 'no''thing')", vec![]),
        (
            "modifiedwithin('1440', 'minutes')",
            vec!["alpha", "alpine", "beta", "gamma"],
        ),
        ("Label['stage'] HAS ('dev', 'prod')", vec![]),
    ] {
        let answer = ask(&server, &format!("$filter={filter}")).await;
        assert_eq!(names(&answer), expected, "{filter}");
    }
    let refused = ask(&server, "$filter=Name eq 'a'").await;
    assert_eq!(refused.status, 400);
    assert!(refused.message().contains("startswith(Name, 'a')"));
}

/// Matches far apart: more names are looked at than are read at a time.
#[tokio::test]
async fn long_lists_are_searched_to_their_end() {
    let all: Vec<_> = (0..450).map(|number| format!("d{number:04}")).collect();
    let server = with(&all).await;
    assert_eq!(names(&ask(&server, "$select=Name").await), all);
    assert_eq!(
        ask(&server, "$select=Name").await.json()[0],
        json!({"Name": "d0000"})
    );
    let ends = ask(&server, "$filter=endswith(Name, '49')").await;
    assert_eq!(names(&ends), ["d0049", "d0149", "d0249", "d0349", "d0449"]);
    assert_eq!(
        names(&ask(&server, "$filter=startswith(Name, 'd044')").await).len(),
        10
    );
    assert!(names(&ask(&server, "$filter=startswith(Name, 'e')").await).is_empty());
    let page = ask(&server, "$page=2&$pageSize=300").await;
    assert_eq!(names(&page), all[300..]);
}

#[tokio::test]
async fn pages_lead_to_each_other() {
    let all: Vec<_> = (0..25).map(|number| format!("d{number:02}")).collect();
    let server = with(&all).await;
    let page = ask(&server, "$page=2&$pageSize=10&$pageCount=true&$entityCount=true").await;
    assert_eq!(names(&page), all[10..20]);
    assert_eq!(
        (page.header("page-count"), page.header("entity-count")),
        ("3", "25")
    );
    assert_eq!(
        page.header("link"),
        "</subaccountDestinations?$page=1&$pageSize=10>; rel='previous', \
         </subaccountDestinations?$page=3&$pageSize=10>; rel='next'"
    );
    let last = ask(&server, "$page=3").await;
    assert_eq!(names(&last), all[20..]);
    assert_eq!(
        last.header("link"),
        "</subaccountDestinations?$page=2&$pageSize=10>; rel='previous'"
    );
    assert!(!last.headers.contains_key("page-count") && !last.headers.contains_key("entity-count"));
    assert!(names(&ask(&server, "$page=9").await).is_empty());
    for query in [
        "$page=0",
        "$page=x",
        "$pageSize=1001",
        "$page=1&$select=Name",
        "$top=3",
    ] {
        assert_eq!(ask(&server, query).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn metadata_stands_beside_the_properties() {
    let server = with(&["one".to_owned()]).await;
    let etag = server.call("GET", &format!("{DESTINATIONS}/one"), "").await;
    let etag = etag.header("etag").trim_matches('"').to_owned();
    let query = "$includeMetadata=modification_time;etag;labels;shared_with_subscriber";
    let list = ask(&server, query).await.json();
    let one = server
        .call("GET", &format!("{DESTINATIONS}/one?{query}"), "")
        .await
        .json();
    assert_eq!(list, json!([one]));
    let metadata = &one["$metadata"];
    assert_eq!(metadata["etag"], etag);
    assert_eq!(
        (&metadata["labels"], &metadata["shared_with_subscriber"]),
        (&json!([]), &json!(false))
    );
    let modified: i64 = metadata["modification_time"].as_str().unwrap().parse().unwrap();
    assert!(modified > 1_600_000_000_000, "milliseconds since 1970");
    let mut bare = one.clone();
    bare.as_object_mut().unwrap().remove("$metadata");
    assert_eq!(bare, destination("one"));
    assert_eq!(ask(&server, "$includeMetadata=owner").await.status, 400);
}
