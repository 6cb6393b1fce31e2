//! What a Service does in a cluster: one address in front of all replicas.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Forwards connections to the first replica that takes them.
pub struct Service {
    address: SocketAddr,
    replicas: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Service {
    /// Without replicas.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let replicas: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let known = Arc::clone(&replicas);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, known.lock().clone()));
            }
        });
        Self { address, replicas }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn add(&self, replica: SocketAddr) {
        self.replicas.lock().push(replica);
    }
}

async fn forward(mut client: TcpStream, replicas: Vec<SocketAddr>) {
    let _ = client.set_nodelay(true);
    for replica in replicas {
        if let Ok(mut server) = TcpStream::connect(replica).await {
            let _ = server.set_nodelay(true);
            // An end of either side is an end of both.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
