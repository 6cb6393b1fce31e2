//! An API server that is a function, for faults that a real one does not have on demand.

use std::convert::Infallible;
use std::future::Future;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use serde::Serialize;

/// What the client asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

pub(crate) type Response = http::Response<Full<Bytes>>;

/// A client whose every request `answer` answers.
pub(crate) fn client<F>(answer: impl Fn(Request) -> F + Clone + Send + 'static) -> Client
where
    F: Future<Output = Response> + Send + 'static,
{
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let request = Request {
                method: parts.method,
                path: parts.uri.path().to_owned(),
                body: body.collect().await.unwrap().to_bytes(),
            };
            Ok::<_, Infallible>(answer(request).await)
        }
    });
    Client::new(service, "default")
}

pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).unwrap();
    http::Response::builder()
        .status(status)
        .body(Full::from(body))
        .unwrap()
}

/// A refusal, as the API server words it.
pub(crate) fn status(status: StatusCode) -> Response {
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::FORBIDDEN => "Forbidden",
        _ => "InternalError",
    };
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
        "message": status.to_string(), "reason": reason, "code": status.as_u16(),
    });
    json(status, &body)
}
