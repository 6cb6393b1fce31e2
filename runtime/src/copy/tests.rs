use super::*;
use std::future::pending;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

async fn relay(
    limits: CopyLimits,
) -> (
    tokio::io::DuplexStream,
    tokio::io::DuplexStream,
    tokio::task::JoinHandle<Copied>,
) {
    let (client, mut a) = duplex(64 << 10);
    let (mut b, server) = duplex(64 << 10);
    let task = tokio::spawn(async move { copy_bidirectional(&mut a, &mut b, limits).await });
    (client, server, task)
}

#[tokio::test]
async fn carries_bulk_through_every_buffer_size() {
    let (mut client, mut server, task) = relay(CopyLimits::default()).await;
    let data: Vec<u8> = (0..12_u32 << 20).map(|i| (i * 31 % 251) as u8).collect();
    let expected = data.clone();
    let writer = tokio::spawn(async move {
        client.write_all(&data).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert!(got == expected, "bytes changed on the way");
    server.write_all(b"after half-close").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(writer.await.unwrap(), "after half-close");
    let copied = task.await.unwrap();
    assert!(matches!(copied.end, End::Closed));
    assert_eq!((copied.sent, copied.received), (expected.len() as u64, 16));
}

#[tokio::test(start_paused = true)]
async fn gives_up_when_idle_and_sooner_when_half_closed() {
    let limits = CopyLimits {
        idle: Duration::from_secs(600),
        half_close: Duration::from_secs(50),
    };
    let (_client, _server, task) = relay(limits).await;
    let start = tokio::time::Instant::now();
    assert!(matches!(task.await.unwrap().end, End::Idle));
    assert_eq!(start.elapsed().as_secs(), 600);

    let (mut client, _server, task) = relay(limits).await;
    let start = tokio::time::Instant::now();
    client.shutdown().await.unwrap();
    assert!(matches!(task.await.unwrap().end, End::Idle));
    assert_eq!(start.elapsed().as_secs(), 50);
}

#[tokio::test]
async fn a_dead_writer_ends_the_copy() {
    let (mut client, server, task) = relay(CopyLimits::default()).await;
    drop(server);
    let _ = client.write_all(&[0; 1024]).await;
    let End::Failed(error) = task.await.unwrap().end else {
        unreachable!("must fail")
    };
    assert!(is_benign(&error), "{error}");
}

/// A stream that sends like its inner one, and whose other side takes nothing any more.
struct Deaf(DuplexStream);

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, space)
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

#[tokio::test]
async fn the_last_answer_of_a_server_that_reads_no_more_arrives() {
    // Small, so that the answer takes many rounds after the failed write.
    let (mut client, mut a) = duplex(64);
    let (mut b, mut server) = duplex(64 << 10);
    let answer = vec![b'x'; 40 << 10];
    server.write_all(&answer).await.unwrap();
    drop(server);
    client.write_all(b"more of the request").await.unwrap();
    let task = tokio::spawn(async move { copy_bidirectional(&mut a, &mut b, CopyLimits::default()).await });
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), answer.len());
    let copied = task.await.unwrap();
    assert!(
        matches!(&copied.end, End::Failed(error) if error.kind() == io::ErrorKind::BrokenPipe),
        "{copied:?}"
    );
    assert_eq!((copied.sent, copied.received), (0, answer.len() as u64));
}

#[tokio::test(start_paused = true)]
async fn a_deaf_side_that_says_nothing_more_is_given_up_with_its_error() {
    let (mut client, mut a) = duplex(64);
    let (b, _server) = duplex(64);
    client.write_all(b"request").await.unwrap();
    let start = Instant::now();
    let copied = copy_bidirectional(&mut a, &mut Deaf(b), CopyLimits::default()).await;
    assert!(
        matches!(&copied.end, End::Failed(error) if is_benign(error)),
        "{copied:?}"
    );
    assert_eq!(start.elapsed(), CopyLimits::default().half_close);
}

#[tokio::test(start_paused = true)]
async fn large_buffers_are_given_back_when_little_moves() {
    let (client, mut a) = duplex(64 << 10);
    let (mut b, mut server) = duplex(64 << 10);
    let (mut from_client, mut to_server) = tokio::io::split(client);
    let mut pair = Pair::new(CopyLimits::default());
    let bulk = async {
        to_server.write_all(&vec![7; 12 << 20]).await.unwrap();
        pending::<()>().await;
    };
    let read = async {
        let mut got = vec![0; 12 << 20];
        server.read_exact(&mut got).await.unwrap();
    };
    tokio::select! {
        _ = poll_fn(|cx| pair.poll(cx, &mut a, &mut b)) => unreachable!("both sides are open"),
        () = bulk => unreachable!("it waits"),
        () = read => {}
    }
    assert_eq!(pair.sending.buffer.len(), 256 << 10);

    // A trickle is no reason to keep them.
    let trickle = async {
        for _ in 0..7 {
            server.write_all(b"tick").await.unwrap();
            from_client.read_exact(&mut [0; 4]).await.unwrap();
            sleep(Duration::from_secs(10)).await;
        }
    };
    tokio::select! {
        _ = poll_fn(|cx| pair.poll(cx, &mut a, &mut b)) => unreachable!("both sides are open"),
        () = trickle => {}
    }
    assert_eq!(
        (pair.sending.buffer.len(), pair.receiving.buffer.len()),
        (1 << 10, 1 << 10)
    );

    // The idle limit is counted as before.
    let start = Instant::now();
    let end = poll_fn(|cx| pair.poll(cx, &mut a, &mut b)).await;
    assert!(matches!(end, End::Idle), "{end:?}");
    let idle = CopyLimits::default().idle;
    assert!(
        (idle - SHRINK_CHECK..=2 * idle).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
}
