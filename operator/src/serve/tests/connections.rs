//! What kind of connection is taken.

use super::*;

#[tokio::test]
async fn http_1_does_too() {
    let server = Server::with_routes().await;
    let io = TokioIo::new(server.tls("http/1.1").await.unwrap());
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut request = get(STREAM_PATH, PROXY);
    *request.uri_mut() = STREAM_PATH.parse().unwrap();
    let response = timeout(PATIENCE, sender.send_request(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(names(&Lines::of(response).snapshot().await).len(), 3);
}

#[tokio::test]
async fn strangers_get_nothing() {
    let server = Server::with_routes().await;
    let anonymous = Request::get(format!("https://{SERVER_NAME}{STREAM_PATH}"))
        .body(Body::empty())
        .unwrap();
    for request in [anonymous, get(STREAM_PATH, "bad")] {
        let response = server.call(request).await;
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let (status, body) = json(response).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(
            body["error"].as_str().unwrap().contains("audience 'landbridge'"),
            "{body}"
        );
    }
    let (status, _) = server.report("bad", &whole(1)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, body) = json(server.call(get("/", PROXY)).await).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body["error"].as_str().unwrap().contains(STREAM_PATH), "{body}");
}

#[tokio::test]
async fn streams_end_when_the_operator_does() {
    let server = Server::with_routes().await;
    let mut lines = server.stream(PROXY).await;
    lines.snapshot().await;
    assert_eq!(server.shutdown.drain(PATIENCE).await, Drained::Complete);
    assert_eq!(lines.next().await, None);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn connections_that_prove_nothing_are_closed() {
    let limits = Limits {
        unproven: Some(Duration::from_millis(100)),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    server.hub.complete();
    let mut lines = server.stream(PROXY).await;
    lines.snapshot().await;
    let io = TokioIo::new(server.tls("h2").await.unwrap());
    let (_sender, connection) = http2::handshake::<_, _, Body>(TokioExecutor::new(), io)
        .await
        .unwrap();
    // The server just closes; whether that is an error to the client does not matter.
    let _ = timeout(PATIENCE, connection)
        .await
        .expect("an idle connection ends");
    assert_eq!(lines.any().await, Some(Message::Alive), "one with a stream stays");
}

#[tokio::test]
async fn only_tls_1_3_is_spoken() {
    let server = Server::with_routes().await;
    let config = ClientConfig::builder_with_provider(landbridge_runtime::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(server.roots.clone())
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    assert!(handshake.unwrap_err().to_string().contains("ProtocolVersion"));
    assert!(server.tls("h2").await.is_ok());
}
