use super::*;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: admin\r\n\r\n";

async fn started(
    limit: usize,
) -> (
    SocketAddr,
    tokio::sync::oneshot::Sender<()>,
    tokio::task::JoinHandle<()>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = router(Readiness::new(), Metrics::new());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(serve_at_most(limit, listener, routes, async {
        drop(stopped.await)
    }));
    (address, stop, task)
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"ok\n") {
        assert!(stream.read_buf(&mut text).await.unwrap() > 0, "closed: {text:?}");
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn answers_and_ends_when_told_although_a_connection_is_open() {
    let (address, stop, task) = started(MAX_CONNECTIONS).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(GET).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0, "must be closed");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection() {
    let (address, _stop, _task) = started(MAX_CONNECTIONS).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HT").await.unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(600), stream.read_to_end(&mut rest))
        .await
        .expect("the connection stays")
        .unwrap();
}

#[tokio::test]
async fn over_the_limit_connections_wait() {
    let (address, _stop, _task) = started(2).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET).await.unwrap();
        answer(&mut stream).await;
        held.push(stream);
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(GET).await.unwrap();
    timeout(Duration::from_millis(300), third.readable())
        .await
        .expect_err("the third must wait");
    held.pop();
    assert!(answer(&mut third).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_log_level_is_changed_from_this_machine_only() {
    let ask = |peer: [u8; 4], filter: &str| log_level(Extension(Peer(peer.into())), filter.to_owned());
    assert_eq!(ask([10, 0, 0, 1], "debug").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        ask([127, 0, 0, 1], "a=b=c").await.status(),
        StatusCode::BAD_REQUEST
    );

    let (address, _stop, _task) = started(MAX_CONNECTIONS).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        b"PUT /loglevel HTTP/1.1\r\nHost: admin\r\nContent-Length: 5\r\nConnection: close\r\n\r\na=b=c";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 400") && text.contains("log filter 'a=b=c'"),
        "{text}"
    );
}
