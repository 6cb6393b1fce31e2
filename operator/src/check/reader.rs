//! Reads of the API server within one deadline, and what may come of them.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use kube::{Client, Error};
use tokio::time::{Instant, timeout_at};

/// Longest time of one call: one thing that hangs must not take the time of all others.
const CALL: Duration = Duration::from_secs(10);

/// Longest time for a page of a pod. The API server itself tries for half a minute to reach one that is gone.
const PAGE: Duration = Duration::from_secs(5);

/// Longest page of an admin endpoint. The metrics of an operator with 10 000 destinations are well below 1 MiB.
const MAX_PAGE: usize = 8 << 20;

/// Why something is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Not there.
    #[error("it is not there")]
    Missing,
    /// No right to see it.
    #[error("no right to see it: {0}")]
    Forbidden(String),
    /// No answer.
    #[error("{0}")]
    NoAnswer(String),
    /// Another answer.
    #[error("the API server answers {0}: {1}")]
    Answer(u16, String),
}

/// A client and a deadline.
pub(super) struct Reader {
    client: Client,
    until: Instant,
}

impl Reader {
    pub(super) fn new(client: Client, timeout: Duration) -> Self {
        Self {
            client,
            until: Instant::now() + timeout,
        }
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether there is time for a pause of this length.
    pub(super) fn has_time_for(&self, pause: Duration) -> bool {
        Instant::now() + pause < self.until
    }

    /// One call.
    pub(super) async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Trouble> {
        self.within(CALL, call).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Trouble> {
        let asked = Instant::now();
        match timeout_at(self.until.min(asked + limit), call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(trouble(error)),
            Err(_) => Err(Trouble::NoAnswer(format!(
                "no answer within {:.0} s",
                asked.elapsed().as_secs_f64()
            ))),
        }
    }

    /// A page below the API server's address, of a bounded length.
    pub(super) async fn page(&self, path: &str) -> Result<Bytes, Trouble> {
        let request = http::Request::get(path)
            .body(Body::empty())
            .map_err(|error| Trouble::NoAnswer(error.to_string()))?;
        self.exchange(request).await.and_then(|(code, body)| match code {
            200..=299 => Ok(body),
            _ => Err(refusal(code, &body)),
        })
    }

    /// The status code and the body of an answer, whatever they are.
    pub(super) async fn exchange(&self, request: http::Request<Body>) -> Result<(u16, Bytes), Trouble> {
        let answer = self.within(PAGE, self.client.send(request)).await?;
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_PAGE).collect();
        match timeout_at(self.until, body).await {
            Ok(Ok(body)) => Ok((code, body.to_bytes())),
            Ok(Err(error)) => Err(Trouble::NoAnswer(format!("the answer broke off: {error}"))),
            Err(_) => Err(Trouble::NoAnswer("the answer took too long".to_owned())),
        }
    }
}

fn refusal(code: u16, body: &[u8]) -> Trouble {
    let status: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let told = status.and_then(|status| Some(status.get("message")?.as_str()?.to_owned()));
    let text = told.unwrap_or_else(|| String::from_utf8_lossy(body).trim().chars().take(300).collect());
    of_code(code, text)
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::Api(status) => of_code(status.code, status.message.clone()),
        other => Trouble::NoAnswer(causes(&other)),
    }
}

fn of_code(code: u16, text: String) -> Trouble {
    match code {
        404 => Trouble::Missing,
        401 | 403 => Trouble::Forbidden(text),
        _ => Trouble::Answer(code, text),
    }
}

/// An error with what it comes from: "error trying to connect" alone helps nobody.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::mock::{client, json, status};
    use http::StatusCode;

    #[tokio::test]
    async fn answers_are_told_apart() {
        let client = client(
            async |request: crate::cluster::mock::Request| match request.path.as_str() {
                "/gone" => status(StatusCode::NOT_FOUND),
                "/secret" => status(StatusCode::FORBIDDEN),
                "/broken" => status(StatusCode::SERVICE_UNAVAILABLE),
                "/slow" => std::future::pending().await,
                _ => json(StatusCode::OK, &"x".repeat(MAX_PAGE + 1)),
            },
        );
        let reader = Reader::new(client.clone(), Duration::from_secs(60));
        assert_eq!(reader.page("/gone").await, Err(Trouble::Missing));
        assert!(matches!(reader.page("/secret").await, Err(Trouble::Forbidden(_))));
        assert!(matches!(
            reader.page("/broken").await,
            Err(Trouble::Answer(503, _))
        ));
        let long = reader.page("/long").await.unwrap_err().to_string();
        assert!(long.contains("broke off"), "{long}");
        let reader = Reader::new(client, Duration::from_millis(10));
        let slow = reader.page("/slow").await.unwrap_err().to_string();
        assert!(slow.contains("no answer within"), "{slow}");
    }
}
