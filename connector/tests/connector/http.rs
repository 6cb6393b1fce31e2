//! HTTP through the connector.

use std::time::Duration;

use landbridge_tunnel::{DenyReason, OpenError, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{World, http_host, mapping, patient};

const ALL: &str = "resources = [{ path = \"/\", websocket_upgrade_allowed = true }]";

#[tokio::test(flavor = "multi_thread")]
async fn allowed_requests_arrive_as_they_were_sent() {
    let internal = http_host().await;
    let world = World::start(&mapping("virtual", 1234, internal, "HTTP", ALL)).await;
    let request = "POST /a%2eb//c?x=1&y=%20 HTTP/1.1\r\nHost: virtual:1234\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept: yes\r\nContent-Length: 5\r\n\r\nhello";
    let answer = world.http("virtual", 1234, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("POST /a%2eb//c?x=1&y=%20\n"), "{answer}");
    assert!(
        answer.contains("host: virtual:1234\n") && answer.contains("x-kept: yes"),
        "{answer}"
    );
    assert!(answer.contains("body: hello"), "{answer}");
    assert!(
        !answer.contains("x-hop") && !answer.contains("timeout=5"),
        "{answer}"
    );
    assert!(answer.contains("x-internal: 1"), "{answer}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_unknown_length_arrive_with_every_method() {
    let internal = http_host().await;
    let world = World::start(&mapping("virtual", 80, internal, "HTTP", ALL)).await;
    for method in ["GET", "POST", "DELETE", "PROPFIND"] {
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        let answer = world.http("virtual", 80, &request).await;
        assert!(answer.contains("body: hello"), "{method}: {answer}");
    }
    let answer = world
        .http(
            "virtual",
            80,
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(!answer.contains("transfer-encoding: chunked\n"), "{answer}");
    world.stop().await;
}

/// The time for an answer counts from the last byte of the request that moved.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_take_longer_than_an_answer() {
    let internal = http_host().await;
    let mappings = mapping("virtual", 80, internal, "HTTP", ALL) + "[limits]\nresponse_seconds = 2\n";
    let world = World::start(&mappings).await;
    let mut stream = world.open("virtual", 80, Protocol::Http).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        stream.write_all(b"x").await.unwrap();
    }
    let mut answer = String::new();
    patient("the answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&"x".repeat(20)),
        "{answer}"
    );
    world.stop().await;
}

/// Answers before it has the whole body, and never reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_reading_does_not_hold_the_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            let _ = socket.read(&mut [0; 64]).await;
            let _ = socket.write_all(answer).await;
            held.push(socket);
        }
    });
    let mappings =
        mapping("virtual", 80, address, "HTTP", ALL) + "[limits]\nresponse_seconds = 1\nidle_seconds = 1\n";
    let world = World::start(&mappings).await;
    let mut stream = world.open("virtual", 80, Protocol::Http).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    patient("the end of the stream", async {
        loop {
            if stream.write_all(&[0; 65_536]).await.is_err() {
                break;
            }
        }
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_have_the_documented_words() {
    let internal = http_host().await;
    let resources = "resources = [{ path = \"/open\" }, { path = \"/suspended\", enabled = false }]";
    let mappings =
        mapping("virtual", 1234, internal, "HTTP", resources) + &mapping("empty", 80, internal, "HTTP", "");
    let world = World::start(&mappings).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: virtual\r\nConnection: close\r\n\r\n");
    for path in ["/closed", "/opening", "/suspended", "/open/../closed"] {
        let answer = world.http("virtual", 1234, &get(path)).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(answer.contains("x-error-origin: Connector"), "{answer}");
        let words = format!("Access denied to resource {path} on system virtual:1234.");
        assert!(answer.contains(&words), "{answer}");
    }
    let answer = world.http("empty", 80, &get("/")).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = world.http("virtual", 1234, &get("/open/%2e%2e%2fclosed")).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("encoded slash"),
        "{answer}"
    );
    let answer = world.http("virtual", 1234, &get("/open")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Case A-07.
    let error = world.open("virtual", 4321, Protocol::Http).await.unwrap_err();
    match error {
        OpenError::Denied {
            reason: DenyReason::DeniedSystem,
            message,
        } => {
            assert!(
                message.starts_with("Access denied to system virtual:4321: If this was a valid request"),
                "{message}"
            );
        }
        other => panic!("{other}"),
    }
    // Bytes would pass the resources by.
    let error = world.open("virtual", 1234, Protocol::Tcp).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Denied {
                reason: DenyReason::RefusedProtocol,
                ..
            }
        ),
        "{error}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_carries_many_requests_and_each_is_checked() {
    let internal = http_host().await;
    let world = World::start(&mapping(
        "virtual",
        80,
        internal,
        "HTTP",
        "resources = [{ path = \"/open\" }]",
    ))
    .await;
    let mut stream = world.open("virtual", 80, Protocol::Http).await.unwrap();
    for (path, status) in [("/open/1", "200"), ("/closed", "403"), ("/open/2", "200")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: virtual\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        patient("the answer", async {
            loop {
                answer.push(stream.read_u8().await.unwrap());
                let text = String::from_utf8_lossy(&answer);
                if text.ends_with("body: \n") || text.ends_with("cloud connector.\n") {
                    break;
                }
            }
        })
        .await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {answer}"
        );
    }
    drop(stream);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_closes_closes_the_stream() {
    let internal = http_host().await;
    let world = World::start(&mapping("virtual", 80, internal, "HTTP", ALL)).await;
    // No "Connection: close" from this side: the end of the stream is the internal host's.
    let answer = world
        .http("virtual", 80, "GET /close HTTP/1.1\r\nHost: virtual\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 200")
            && answer.contains("connection: close\r\n")
            && answer.ends_with("bye"),
        "{answer}"
    );
    world.stop().await;
}

/// Cases.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_translated_both_ways() {
    let internal = http_host().await;
    let rest = format!("host_in_header = \"internal\"\n{ALL}");
    let world = World::start(&mapping("virtual", 1234, internal, "HTTP", &rest)).await;
    let answer = world
        .http(
            "virtual",
            1234,
            "GET / HTTP/1.1\r\nHost: virtual:1234\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(answer.contains(&format!("host: {internal}\n")), "{answer}");
    assert!(answer.contains("x-forwarded-host: virtual:1234"), "{answer}");
    let answer = world
        .http(
            "virtual",
            1234,
            "GET /redirect HTTP/1.1\r\nHost: virtual\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(
        answer.contains("location: http://virtual:1234/target?x=%20\r\n"),
        "{answer}"
    );
    world.stop().await;
}

/// Case A-06.
#[tokio::test(flavor = "multi_thread")]
async fn upgrades_are_joined_where_they_are_allowed() {
    let internal = http_host().await;
    let mappings = mapping("open", 80, internal, "HTTP", ALL)
        + &mapping("closed", 80, internal, "HTTP", "resources = [{ path = \"/\" }]");
    let world = World::start(&mappings).await;
    let request = "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut stream = world.open("closed", 80, Protocol::Http).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    patient("the refusal", stream.read_exact(&mut head))
        .await
        .unwrap();
    assert_eq!(&head, b"HTTP/1.1 403");
    drop(stream);

    // Another HTTP would be a way past the resources, and a change that nobody asked for is none.
    for (line, status, words) in [
        ("Upgrade: h2c", "403", "WebSocket only"),
        ("Upgrade: websocket, h2c", "403", "WebSocket only"),
        ("Upgrade: websocket\r\nX-Answer: h2c", "502", "did not ask for"),
        ("X-Answer: websocket", "502", "did not ask for"),
    ] {
        let request = format!(
            "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nHTTP2-Settings: AAMAAABk\r\n{line}\r\n\r\n"
        );
        let answer = world.http("open", 80, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(words),
            "{line}: {answer}"
        );
    }

    let mut stream = world.open("open", 80, Protocol::Http).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(patient("the head", stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket"),
        "{head}"
    );
    for _ in 0..3 {
        stream.write_all(b"frame").await.unwrap();
        let mut back = [0; 5];
        patient("the echo", stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"frame");
    }
    drop(stream);
    world.stop().await;
}

/// A host that answers one request on each connection and closes it when it has seen the next.
async fn forgetful_host() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match socket.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            let _ = socket.write_all(answer).await;
            let _ = socket.read_u8().await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_closes_ends_the_stream_without_an_answer() {
    let world = World::start(&mapping("virtual", 80, forgetful_host().await, "HTTP", ALL)).await;
    for (method, answered) in [("GET", false), ("POST", true)] {
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let mut stream = world.open("virtual", 80, Protocol::Http).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok") {
            answer.push(patient("the first answer", stream.read_u8()).await.unwrap());
        }
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let end = patient("the end", stream.read_to_end(&mut rest)).await;
        let rest = String::from_utf8(rest).unwrap();
        if answered {
            // The proxy does not repeat it, so the caller should learn what happened.
            assert!(rest.starts_with("HTTP/1.1 502"), "{method}: {end:?} {rest}");
        } else {
            assert!(end.is_err() && rest.is_empty(), "{method}: {end:?} {rest}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_fail_are_told_apart() {
    // Bound and closed again: refuses. Accepts and closes: breaks. Accepts and says nothing: slow.
    let refusing = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let breaking = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let breaks = breaking.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = breaking.accept().await {
            let _ = socket.read(&mut [0; 10]).await;
        }
    });
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mappings = mapping("refuses", 80, refusing, "HTTP", ALL)
        + &mapping("breaks", 80, breaks, "HTTP", ALL)
        + &mapping("silent", 80, silent.local_addr().unwrap(), "HTTP", ALL)
        + "[limits]\nresponse_seconds = 1\n";
    let world = World::start(&mappings).await;
    let error = world.open("refuses", 80, Protocol::Http).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Denied {
                reason: DenyReason::Unreachable,
                ..
            }
        ),
        "{error}"
    );
    let get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = world.http("breaks", 80, get).await;
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains("breaks:80"),
        "{answer}"
    );
    let answer = world.http("silent", 80, get).await;
    assert!(
        answer.starts_with("HTTP/1.1 504") && answer.contains("in time"),
        "{answer}"
    );
    world.stop().await;
}

/// Cases.
#[tokio::test(flavor = "multi_thread")]
async fn tls_hosts_need_a_trusted_certificate() {
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(landbridge_runtime::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(stream) = tls.accept(socket).await {
                tokio::spawn(crate::support::serve_http(stream, address));
            }
        }
    });
    let authorities = tempfile::tempdir().unwrap();
    let file = authorities.path().join("ca.pem");
    std::fs::write(&file, own.cert.pem()).unwrap();
    let trusted = format!("backend_ca_file = \"{}\"\n{ALL}", file.display());
    let mappings =
        mapping("trusted", 80, address, "HTTPS", &trusted) + &mapping("untrusted", 80, address, "HTTPS", ALL);
    let world = World::start(&mappings).await;
    let answer = world
        .http(
            "trusted",
            80,
            "GET /x HTTP/1.1\r\nHost: trusted\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("GET /x"),
        "{answer}"
    );
    match world.open("untrusted", 80, Protocol::Http).await.unwrap_err() {
        OpenError::Denied {
            reason: DenyReason::Unreachable,
            message,
        } => {
            assert!(message.contains("backend_ca_file"), "{message}");
        }
        other => panic!("{other}"),
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_heads_are_refused() {
    let internal = http_host().await;
    let world = World::start(&mapping("virtual", 80, internal, "HTTP", ALL)).await;
    let mut stream = world.open("virtual", 80, Protocol::Http).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    // The connector may answer and close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = [0; 12];
    patient("the refusal", stream.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
    let answer = world
        .http(
            "virtual",
            80,
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    world.stop().await;
}
