//! What is wrong gets a clear answer: status, origin, message; and nothing else suffers.

use landbridge_tests::client::{self, raw, request, send};
use landbridge_tests::standalone::{Standalone, manifest, manifest_on};
use landbridge_tests::{eventually, target};
use serde_json::{Value, json};
use tokio::net::TcpListener;

fn http(url: String) -> Value {
    json!({"Type": "HTTP", "URL": url, "ProxyType": "Internet", "Authentication": "NoAuthentication"})
}

#[tokio::test]
async fn ambiguous_and_oversized_heads() {
    let standalone = Standalone::start(&[]).await;
    let address = standalone
        .serve("mirror", http(format!("http://{}", target::mirror().await)))
        .await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (what, bytes, status) in [
        (
            "length and chunks",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "chunks and length",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "two equal lengths",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
            400,
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
            400,
        ),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        ("folding", "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n", 400),
        ("bare line feed", "GET / HTTP/1.1\nhost: a\n\n", 400),
        (
            "space in a name",
            "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
            400,
        ),
        ("garbage", "\u{1}\u{2}\u{3}\r\n\r\n", 400),
        ("too long", long.as_str(), 431),
        ("too many", many.as_str(), 431),
        ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n", 405),
        (
            "underscore",
            "GET / HTTP/1.1\r\nhost: a\r\nx_destination_name: b\r\n\r\n",
            400,
        ),
    ] {
        let answer = raw(address, bytes.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}"))
                || answer.starts_with(&format!("HTTP/1.0 {status}")),
            "{what}: {answer:?}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 200").count(),
            0,
            "{what} must not reach the target: {answer}"
        );
    }
    // A clear request before an ambiguous one is answered.
    let pair = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answers = raw(address, pair.as_bytes()).await;
    assert!(
        answers.starts_with("HTTP/1.1 200") && answers.contains("HTTP/1.1 400"),
        "{answers}"
    );
    assert_eq!(
        client::get(address, "/").await.status,
        200,
        "the next connection works"
    );
}

#[tokio::test]
async fn failures_say_which_hop_and_what_to_do() {
    let standalone = Standalone::start(&[]).await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut slow = http(format!("http://{}", silent.local_addr().unwrap()));
    slow["URL.socketReadTimeoutInSeconds"] = "1".into();
    let garbage = target::scripted(b"this is not HTTP\r\n\r\n").await;
    let cut = target::scripted(b"").await;
    let mut on_premise = http("http://erp.company:44300".to_owned());
    on_premise["ProxyType"] = "OnPremise".into();
    for (name, destination, status, origin, code, part) in [
        (
            "closed",
            http(format!("http://{closed}")),
            502,
            "Target System",
            "target-unreachable",
            closed.port().to_string(),
        ),
        (
            "slow",
            slow,
            504,
            "Target System",
            "target-timeout",
            "URL.socketReadTimeoutInSeconds".to_owned(),
        ),
        (
            "garbage",
            http(format!("http://{garbage}")),
            502,
            "Target System",
            "target-failed",
            "not valid HTTP".to_owned(),
        ),
        (
            "cut",
            http(format!("http://{cut}")),
            502,
            "Target System",
            "target-failed",
            "closed the connection".to_owned(),
        ),
        (
            "no-connector",
            on_premise,
            503,
            "Connectivity Proxy",
            "no-connector",
            "start the connector".to_owned(),
        ),
    ] {
        let address = standalone.serve(name, destination).await;
        let answer = client::get(address, "/").await;
        let seen = (
            answer.status.as_u16(),
            answer.header("x-error-origin"),
            answer.header("x-internal-error-code"),
        );
        assert_eq!(seen, (status, origin, code), "{name}: {}", answer.text());
        assert!(
            answer.header("x-error-message").contains(&part),
            "{name}: {}",
            answer.header("x-error-message")
        );
        assert!(!answer.header("x-request-id").is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_destination_that_does_not_exist_yet() {
    let standalone = Standalone::start(&["--destination-ttl", "1"]).await;
    standalone.declare("later", "later");
    let address = standalone.route("later").await;
    let answer = client::get(address, "/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-error-origin")),
        (502, "Destination Service")
    );
    assert!(
        answer.header("x-error-message").contains("later"),
        "{}",
        answer.header("x-error-message")
    );
    let status = standalone.status("later").await.unwrap();
    assert!(
        status
            .to_string()
            .contains("ConfigurationError-ReferencedDestination-NotFound"),
        "{status}"
    );
    let mut destination = http(format!("http://{}", target::mirror().await));
    destination["Name"] = "later".into();
    standalone.put(destination).await;
    client::until_ok("the destination works", address).await;
}

#[tokio::test]
async fn gateway_requests_are_checked() {
    let standalone = Standalone::start(&[]).await;
    standalone
        .serve("mirror", http(format!("http://{}", target::mirror().await)))
        .await;
    standalone.declare("any", "*");
    let address = standalone.route("any").await;
    for (headers, status, part) in [
        (&[][..], 400, "x-destination-name is missing"),
        (
            &[("x-destination-name", "mirror"), ("x-destination-name", "mirror")],
            400,
            "more than once",
        ),
        (&[("x-destination-name", "../mirror")], 400, "letters, digits"),
        (&[("x-destination-name", "nowhere")], 404, "nowhere"),
        (&[("x-destination-name", "mirror")], 200, ""),
    ] {
        let answer = send(address, request("GET", "/", headers, "")).await;
        assert_eq!(answer.status.as_u16(), status, "{headers:?}: {}", answer.text());
        assert!(
            answer.header("x-error-message").contains(part),
            "{headers:?}: {}",
            answer.header("x-error-message")
        );
    }
    let seen = send(
        address,
        request("GET", "/", &[("x-destination-name", "mirror")], ""),
    )
    .await
    .json();
    assert!(
        seen["headers"].get("x-destination-name").is_none(),
        "control headers are consumed: {seen}"
    );
}

#[tokio::test]
async fn one_bad_manifest_is_named_and_the_others_work() {
    let standalone = Standalone::start(&[]).await;
    let bad = "apiVersion: destination.connectivity.api.sap/v1\nkind: Destination\nmetadata:\n  name: bad\nspec:\n  \
               destinationRef:\n    nam: typo\n";
    std::fs::write(standalone.path("manifests").join("bad.yaml"), bad).unwrap();
    std::fs::write(standalone.path("manifests").join("broken.yaml"), "a: [1,\n").unwrap();
    let address = standalone
        .serve("mirror", http(format!("http://{}", target::mirror().await)))
        .await;
    assert_eq!(client::get(address, "/").await.status, 200);
    eventually("both mistakes are told", async || {
        let text = client::get(standalone.admin(), "/destinations").await.text();
        let told = text.contains("bad.yaml") && text.contains("nam") && text.contains("broken.yaml");
        if told { Ok(()) } else { Err(text) }
    })
    .await;
    let problems = client::get(standalone.admin(), "/destinations").await.json()["problems"].clone();
    let typo = problems
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["file"].as_str().unwrap().ends_with("bad.yaml"))
        .unwrap();
    assert!(
        typo["line"].as_u64().is_some_and(|line| line >= 5) && typo["field"].is_string(),
        "{typo}"
    );
    // A corrected manifest replaces the mistake.
    std::fs::write(
        standalone.path("manifests").join("bad.yaml"),
        bad.replace("nam: typo", "name: mirror"),
    )
    .unwrap();
    let address = standalone.route("bad").await;
    assert_eq!(client::get(address, "/").await.status, 200);
}

#[tokio::test]
async fn a_port_in_use_is_told_and_the_others_work() {
    let standalone = Standalone::start(&[]).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = manifest_on("taken", "mirror", port);
    let address = standalone
        .serve("mirror", http(format!("http://{}", target::mirror().await)))
        .await;
    std::fs::write(standalone.path("manifests").join("taken.yaml"), text).unwrap();
    eventually("the conflict is told", async || {
        let status = standalone
            .status("taken")
            .await
            .ok_or("not declared")?
            .to_string();
        if status.contains("in use") && status.contains(&port.to_string()) {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    assert_eq!(client::get(address, "/").await.status, 200);
}

#[tokio::test]
async fn targets_on_this_machine_need_permission() {
    // The harness always allows them, so this starts the process itself.
    let folder = tempfile::TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("manifests")).unwrap();
    let ready = path("ready.json");
    let arguments = [
        "standalone",
        "--manifests",
        &path("manifests"),
        "--data-dir",
        &path("data"),
        "--ready-file",
        &ready,
        "--store-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--tunnel-listen",
        "off",
        "--ports",
        "0",
    ];
    let _process = landbridge_tests::process::Process::start(&arguments, &folder.path().join("log"));
    let ready: Value = eventually("it is ready", async || {
        let text = std::fs::read_to_string(&ready).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    })
    .await;
    let file = path("local.json");
    let destination = json!({"Name": "local", "Type": "HTTP", "URL": "http://localhost:1", "ProxyType": "Internet", "Authentication": "NoAuthentication"});
    std::fs::write(&file, destination.to_string()).unwrap();
    let ended = landbridge_tests::process::run(&[
        "store",
        "put",
        "--binding",
        ready["binding"].as_str().unwrap(),
        &file,
    ])
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let manifest = manifest("local", "local");
    std::fs::write(folder.path().join("manifests/local.yaml"), manifest).unwrap();
    let admin = ready["admin"].as_str().unwrap().parse().unwrap();
    eventually("the reason is told", async || {
        let text = client::get(admin, "/destinations").await.text();
        if text.contains("ConfigurationError-ReferencedDestination-LoopbackUrlNotSupported") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}
