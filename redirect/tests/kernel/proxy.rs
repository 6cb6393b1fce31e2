//! Servers that say who they are, and what an application calls them with.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Generous: machines that run tests are slow and noisy.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A server of the test; it ends with this.
pub(crate) struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Stops to listen; connections that exist stay.
    pub(crate) async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

/// Says `name` and the destination that the connection was meant for, then answers every byte with itself.
pub(crate) fn serve(listener: TcpListener, name: &'static str, meant: fn(&TcpStream) -> String) -> Server {
    Server(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let hello = format!("{name} {}\n", meant(&stream));
            tokio::spawn(async move {
                stream.write_all(hello.as_bytes()).await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    }))
}

/// The destination of a transparent socket.
pub(crate) fn local(stream: &TcpStream) -> String {
    stream.local_addr().unwrap().to_string()
}

/// The destination before it was translated.
pub(crate) fn original(stream: &TcpStream) -> String {
    let socket = SockRef::from(stream);
    let found = if stream.local_addr().unwrap().is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    found.unwrap().as_socket().unwrap().to_string()
}

/// Listens as a node's proxy does.
pub(crate) fn transparent(address: &str) -> TcpListener {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    if address.is_ipv4() {
        socket.set_ip_transparent_v4(true).unwrap();
    } else {
        socket.set_ip_transparent_v6(true).unwrap();
    }
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(64).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

/// A connection of an application, and who answered.
pub(crate) struct Call {
    stream: TcpStream,
    pub(crate) hello: String,
}

impl Call {
    /// Whether bytes still come back.
    pub(crate) async fn still_works(&mut self) -> bool {
        let mut back = [0; 4];
        let there_and_back = async {
            self.stream.write_all(b"ping").await?;
            self.stream.read_exact(&mut back).await
        };
        matches!(timeout(LIMIT, there_and_back).await, Ok(Ok(_))) && back == *b"ping"
    }
}

/// Connects, with a mark unless it is 0, and hears who answers.
pub(crate) async fn call_marked(to: &str, mark: u32) -> io::Result<Call> {
    let to: SocketAddr = to.parse().unwrap();
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if mark != 0 {
        SockRef::from(&socket).set_mark(mark)?;
    }
    let mut stream = timeout(LIMIT, socket.connect(to)).await??;
    let mut hello = String::new();
    while !hello.ends_with('\n') {
        match timeout(LIMIT, stream.read_u8()).await? {
            Ok(byte) => hello.push(char::from(byte)),
            Err(_) => break,
        }
    }
    Ok(Call {
        stream,
        hello: hello.trim_end().to_owned(),
    })
}

/// Who answers an application.
pub(crate) async fn hello(to: &str) -> String {
    match call_marked(to, 0).await {
        Ok(call) => call.hello,
        Err(error) => error.to_string(),
    }
}

/// Who answers an application in this pod.
pub(crate) async fn hello_from(pod: &crate::namespace::Pod, to: &'static str) -> String {
    pod.run(hello(to)).await
}
