//! A token service on loopback that remembers what it was asked.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::request::Parts;
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// Gives `token-<number>`.
#[derive(Clone, Default)]
pub(super) struct Service {
    seen: Arc<Mutex<Vec<(Parts, String)>>>,
    address: String,
}

impl Service {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: format!("127.0.0.1:{}", listener.local_addr().unwrap().port()),
            ..Self::default()
        };
        let router = this.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    pub(super) fn router(&self) -> Router {
        let seen = Arc::clone(&self.seen);
        Router::new().fallback(move |request: Request<Body>| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let number = {
                    let mut seen = seen.lock();
                    seen.push((head, String::from_utf8(body.to_vec()).unwrap()));
                    seen.len()
                };
                let answer = format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#);
                Response::new(Body::from(answer))
            }
        })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn calls(&self) -> usize {
        self.seen.lock().len()
    }

    pub(super) fn last(&self) -> (Parts, String) {
        self.seen.lock().last().cloned().unwrap()
    }

    /// A parameter of the last form.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let (_, form) = self.last();
        let found = form_urlencoded::parse(form.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    }
}
