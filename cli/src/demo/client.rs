//! The application: plain HTTP and plain TCP, no credentials, one connection per call.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::calls::{Ask, Call, Observed, Outcome};
use super::landscape::Landscape;

/// How long a call may take.
const CALL: Duration = Duration::from_secs(30);

/// Longest answer that is read.
const MAX_ANSWER: usize = 1 << 20;

/// Makes one call and judges it.
pub(super) async fn make(call: &Call, landscape: &Landscape) -> Outcome {
    let start = Instant::now();
    let made = match landscape.routes.get(call.destination) {
        Some(address) => match timeout(CALL, observe(call, *address, landscape)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("no answer within {} s", CALL.as_secs())),
        },
        None => Err(anyhow::anyhow!("{} is not served", call.destination)),
    };
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let (observed, problem) = match made {
        Ok(observed) => {
            let problem = call.expect.problem(&observed);
            (observed, problem)
        }
        Err(error) => (Observed::default(), Some(format!("{error:#}"))),
    };
    Outcome {
        shows: call.shows.to_owned(),
        sent: sent(call),
        received: received(call, &observed),
        result: result(call, &observed),
        ms,
        ok: problem.is_none(),
        problem,
    }
}

fn sent(call: &Call) -> String {
    match call.ask {
        Ask::Http {
            method,
            path,
            body,
            header,
        } => {
            let mut text = format!("{method} http://{}{path}", call.destination);
            if let Some((name, value)) = header {
                text.push_str(&format!(", {name}: {value}"));
            }
            if !body.is_empty() {
                text.push_str(&format!(", {} bytes", body.len()));
            }
            text
        }
        Ask::Tcp { bytes } => format!("tcp://{}, {} bytes", call.destination, bytes.len()),
    }
}

fn received(call: &Call, observed: &Observed) -> String {
    match (&observed.line, &observed.credential, call.ask) {
        (Some(line), Some(credential), _) => format!("{line}, Authorization: {credential}"),
        (Some(line), None, _) => line.clone(),
        (None, _, Ask::Tcp { .. }) => format!("{} bytes", observed.answer.len()),
        (None, _, Ask::Http { .. }) => "nothing".to_owned(),
    }
}

fn result(call: &Call, observed: &Observed) -> String {
    match call.ask {
        Ask::Http { .. } => {
            let reason = StatusCode::from_u16(observed.status)
                .ok()
                .and_then(|status| status.canonical_reason());
            let expected_failure = if observed.status >= 400 {
                ", as it must"
            } else {
                ""
            };
            format!(
                "{} {}{expected_failure}",
                observed.status,
                reason.unwrap_or_default()
            )
        }
        Ask::Tcp { .. } => "echoed".to_owned(),
    }
}

async fn observe(call: &Call, address: SocketAddr, landscape: &Landscape) -> Result<Observed> {
    match call.ask {
        Ask::Http {
            method,
            path,
            body,
            header,
        } => {
            let mut request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", call.destination);
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            let (status, headers, answer) = exchange(address, request.body(Full::from(body))?).await?;
            let id = headers
                .get("x-request-id")
                .and_then(|id| id.to_str().ok())
                .context("no x-request-id")?;
            let seen = landscape.targets.seen.lock().get(id).cloned();
            Ok(Observed {
                status: status.as_u16(),
                answer,
                line: seen.as_ref().map(|seen| seen.line.clone()),
                credential: seen.and_then(|seen| seen.credential),
            })
        }
        Ask::Tcp { bytes } => {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(bytes.as_bytes()).await?;
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.take(MAX_ANSWER as u64).read_to_string(&mut answer).await?;
            Ok(Observed {
                answer,
                ..Observed::default()
            })
        }
    }
}

/// `GET path` at one of our own endpoints.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<(StatusCode, String)> {
    let request = Request::get(path)
        .header("host", address.to_string())
        .body(Full::default())?;
    let (status, _, text) = timeout(CALL, exchange(address, request))
        .await
        .context("no answer")??;
    Ok((status, text))
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, HeaderMap, String)> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("connecting to {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let Ok(body) = Limited::new(body, MAX_ANSWER).collect().await else {
        bail!("the answer broke off or is too long")
    };
    drop(sender);
    driver.abort();
    Ok((
        head.status,
        head.headers,
        String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    ))
}
