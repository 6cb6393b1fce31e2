//! A destination service that is not ours: it takes any destination, as odd as it may be, and has no fragments
//! and no change feed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::target;

#[derive(Default)]
struct Shared {
    destinations: Mutex<HashMap<String, Value>>,
    /// Paths of all requests but those for tokens, and the status of the answer.
    asked: Mutex<Vec<(String, u16)>>,
}

/// A running one.
pub struct ForeignStore {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl ForeignStore {
    /// On a free port.
    pub async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let token = json!({"access_token": "t", "token_type": "bearer", "expires_in": 3600});
        let router = Router::new()
            .route("/oauth/token", post(async move || Json(token)))
            .route("/destination-configuration/v1/destinations/{name}", get(find))
            .fallback(nothing)
            .with_state(Arc::clone(&shared));
        Self {
            address: target::serve(router).await,
            shared,
        }
    }

    /// Its service key.
    pub fn key(&self) -> String {
        let url = format!("http://{}", self.address);
        json!({"clientid": "operator", "clientsecret": "not a secret", "url": url, "uri": url}).to_string()
    }

    /// Creates or replaces a destination.
    pub fn put(&self, destination: &Value) {
        let name = destination["Name"].as_str().expect("a name").to_owned();
        self.shared.destinations.lock().insert(name, destination.clone());
    }

    /// Status codes of what was asked for and ends so.
    pub fn answers(&self, end: &str) -> Vec<u16> {
        let asked = self.shared.asked.lock();
        let mine = asked.iter().filter(|(path, _)| path.ends_with(end));
        mine.map(|(_, status)| *status).collect()
    }
}

async fn find(State(shared): State<Arc<Shared>>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let found = shared.destinations.lock().get(&name).cloned();
    // It has no fragment at all.
    let found = found.filter(|_| !headers.contains_key("x-fragment-name"));
    let answer = match found {
        None => (StatusCode::NOT_FOUND, "no such destination").into_response(),
        Some(destination) => {
            let tag = format!("\"{}\"", destination.to_string().len());
            if headers.get(IF_NONE_MATCH).is_some_and(|known| *known == *tag) {
                (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response()
            } else {
                let body = json!({"owner": {"SubaccountId": "s"}, "destinationConfiguration": destination});
                ([(ETAG, tag)], Json(body)).into_response()
            }
        }
    };
    shared.asked.lock().push((name, answer.status().as_u16()));
    answer
}

async fn nothing(State(shared): State<Arc<Shared>>, uri: axum::http::Uri) -> StatusCode {
    let status = StatusCode::NOT_FOUND;
    shared.asked.lock().push((uri.path().to_owned(), status.as_u16()));
    status
}
