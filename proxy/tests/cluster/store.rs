//! A store whose destinations the test decides, and the system they lead to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

#[derive(Default)]
struct Inner {
    destinations: HashMap<String, serde_json::Value>,
    /// Tokens still to be given, the present one first.
    tokens: HashMap<String, Vec<&'static str>>,
    asked: Vec<String>,
    broken: bool,
}

impl Inner {
    fn give_token(&mut self, name: &str, another: bool) {
        let Some(tokens) = self.tokens.get_mut(name) else {
            return;
        };
        if another && tokens.len() > 1 {
            tokens.remove(0);
        }
        let token = &mut self.destinations.get_mut(name).unwrap()["authTokens"][0];
        token["value"] = tokens[0].into();
        token["http_header"]["value"] = format!("Bearer {}", tokens[0]).into();
    }
}

/// A store.
#[derive(Clone)]
pub(crate) struct Store {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    /// Each answer takes a permit after it was worked out; there are plenty unless the test takes them away.
    gate: Arc<Semaphore>,
}

impl Store {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = Self {
            address: listener.local_addr().unwrap(),
            inner: Arc::default(),
            gate: Arc::new(Semaphore::new(10_000)),
        };
        let this = store.clone();
        serve(listener, move |request| {
            let this = this.clone();
            async move { this.answer(&request).await }
        });
        store
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if path == "/oauth/token" {
            return json(
                200,
                r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#,
            );
        }
        let name = path.rsplit('/').next().unwrap().to_owned();
        let (status, body) = {
            let mut inner = self.inner.lock();
            inner.asked.push(name.clone());
            let wants_another = request.headers().contains_key("cache-control");
            inner.give_token(&name, wants_another);
            match inner.destinations.get(&name) {
                _ if inner.broken => (503, r#"{"ErrorMessage":"broken"}"#.to_owned()),
                Some(found) => (200, found.to_string()),
                None => (404, r#"{"ErrorMessage":"not found"}"#.to_owned()),
            }
        };
        self.gate.acquire().await.unwrap().forget();
        let mut answer = json(status, &body);
        // Longer than clients wait before they try again by themselves.
        answer.headers_mut().insert("retry-after", "60".parse().unwrap());
        answer
    }

    /// Answers stay on their way until the guard is dropped.
    pub(crate) fn hold(&self) -> impl Drop + use<> {
        struct Held(Arc<Semaphore>, usize);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.add_permits(self.1);
            }
        }
        let count = self.gate.available_permits();
        self.gate.forget_permits(count);
        Held(Arc::clone(&self.gate), count)
    }

    pub(crate) fn put(&self, name: &str, target: SocketAddr) {
        self.put_url(name, &format!("http://{target}"));
    }

    pub(crate) fn put_url(&self, name: &str, url: &str) {
        let config = serde_json::json!({"Name": name, "Type": "HTTP", "URL": url,
            "Authentication": "NoAuthentication", "ProxyType": "Internet"});
        self.put_config(name, config);
    }

    /// With tokens that hold so many seconds: each but the first only for who wants another one.
    pub(crate) fn put_tokens(&self, name: &str, target: SocketAddr, seconds: u64, tokens: &[&'static str]) {
        let found = serde_json::json!({"owner": {"SubaccountId": "s", "InstanceId": null},
            "destinationConfiguration": {"Name": name, "Type": "HTTP", "URL": format!("http://{target}"),
                "Authentication": "OAuth2ClientCredentials", "ProxyType": "Internet", "clientId": "the-client-id",
                "clientSecret": "the-client-secret", "tokenServiceURL": "https://the-token-service",
                "Password": "the-password", "URL.headers.x-added": "the-header"},
            "authTokens": [{"type": "Bearer", "expires_in": seconds.to_string(), "refresh_token": "the-refresh-token",
                "http_header": {"key": "Authorization"}}]});
        let mut inner = self.inner.lock();
        inner.destinations.insert(name.to_owned(), found);
        inner.tokens.insert(name.to_owned(), tokens.to_vec());
    }

    pub(crate) fn put_on_premise(&self, name: &str) {
        let config = serde_json::json!({"Name": name, "Type": "HTTP", "URL": "http://inside:44300",
            "Authentication": "NoAuthentication", "ProxyType": "OnPremise"});
        self.put_config(name, config);
    }

    pub(crate) fn put_tcp(&self, name: &str, target: SocketAddr) {
        let config = serde_json::json!({"Name": name, "Type": "TCP", "Address": target.to_string(),
            "Authentication": "NoAuthentication", "ProxyType": "Internet"});
        self.put_config(name, config);
    }

    fn put_config(&self, name: &str, config: serde_json::Value) {
        let found = serde_json::json!({"owner": {"SubaccountId": "s", "InstanceId": null},
            "destinationConfiguration": config});
        self.inner.lock().destinations.insert(name.to_owned(), found);
    }

    pub(crate) fn broken(&self, broken: bool) {
        self.inner.lock().broken = broken;
    }

    /// How often it was asked for a destination.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.inner
            .lock()
            .asked
            .iter()
            .filter(|asked| *asked == name)
            .count()
    }

    pub(crate) fn client(&self) -> StoreClient {
        let url = format!("http://{}", self.address);
        let key = format!(r#"{{"clientid":"id","clientsecret":"s","url":"{url}","uri":"{url}"}}"#);
        let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
        StoreClient::new(Binding::from_json(&key).unwrap(), http)
    }
}

fn json(status: u16, body: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// A system that answers with its name.
pub(crate) async fn target(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, move |_| async move {
        Response::new(Full::new(Bytes::from_static(name.as_bytes())))
    });
    address
}

/// A system that takes one token only, and answers with it.
pub(crate) async fn guarded(token: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, move |request| async move {
        let shown = request.headers().get("authorization");
        let good = shown.is_some_and(|shown| *shown == format!("Bearer {token}"));
        let mut response = Response::new(Full::new(Bytes::from_static(token.as_bytes())));
        if !good {
            *response.status_mut() = http::StatusCode::UNAUTHORIZED;
        }
        response
    });
    address
}

/// A system that sends back what it gets.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

fn serve<F, Fut>(listener: TcpListener, handler: F)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let handler = handler.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}
