//! `landbridge validate-redirect`: whether connections are redirected in this network namespace.
//!
//! Where no proxy runs, the command listens in its place and proves with a token of its own. Where one runs, only that
//! proxy knows its token, which nobody else may: then the command asks the proxy, which proves for itself and publishes the result
//! as a metric.

use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use landbridge_redirect::Mode;
use landbridge_redirect::proof::{ListenerError, ProofError, ProofListener, Token, prove};
use landbridge_redirect::settings::Family;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client::{self, CallLimits};

use crate::output::print;
use crate::redirect::args::{ValidateArgs, Way};

/// What proxies publish of their proof: 1 or 0.
const METRIC: &str = "landbridge_redirect_proven ";

/// Metrics of a proxy at most: a dozen lines for each of some 10 000 routes.
const MAX_METRICS: usize = 32 << 20;

/// Runs the command.
///
/// # Errors
/// There is no proof ([`ProofError`] or [`NotProven`], exit code 95), or it cannot be looked for.
pub(crate) async fn run(args: ValidateArgs) -> Result<()> {
    let (mode, admin) = match args.mode {
        Way::Sidecar => (
            Mode::Sidecar {
                proxy_uid: None,
                networks: Vec::new(),
            },
            "http://127.0.0.1:20412",
        ),
        Way::Node => (Mode::Node, "http://127.0.0.1:20414"),
    };
    let limit = Duration::from_secs(args.timeout);
    let admin = args.admin.as_deref().unwrap_or(admin);
    // Every proxy of a node has a port of its own, so that a free one says nothing.
    if mode == Mode::Node {
        match answered(admin, limit).await {
            Ok(page) => return judge(admin, &page),
            Err(error) => tracing::debug!("no proxy is asked: {error:#}"),
        }
    }
    let listener = match ProofListener::bind(&mode, args.port) {
        Ok(listener) => listener,
        Err(ListenerError::InUse(_)) => {
            return judge(admin, &answered(admin, limit).await?);
        }
        Err(error) => {
            return Err(Error::new(error)).context(
                "cannot stand in for the proxy; run it where the proxy would run, or name another --port",
            );
        }
    };
    let token = Token::random();
    let proven = tokio::select! {
        proven = prove(&token, limit) => proven?,
        () = listener.serve(&token) => bail!("the listener has ended"),
    };
    let families: Vec<&str> = proven
        .families
        .iter()
        .map(|family| match family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
        .collect();
    print(&format!(
        "connections are redirected to port {} ({})",
        args.port,
        families.join(", ")
    ));
    Ok(())
}

/// A proxy listens, and has no proof.
#[derive(Debug, thiserror::Error)]
#[error(
    "the proxy that listens here has no proof that connections are redirected to it ({0}). Look at `landbridge redirect show` and at the proxy's log"
)]
pub(crate) struct NotProven(String);

/// The metrics of the proxy whose admin address this is.
async fn answered(admin: &str, limit: Duration) -> Result<String> {
    let client = http_client::standard(Dialer::new(AddressPolicy::Any)?, &[])?;
    let address = metrics_of(admin);
    let request = Request::builder()
        .uri(&address)
        .body(Bytes::new())
        .with_context(|| format!("{address} is no address"))?;
    let limits = CallLimits {
        answer: limit,
        max_body: MAX_METRICS,
    };
    let answer = client.call(request, limits).await.with_context(|| {
        format!("somebody listens on the port already, but no proxy answers at {address}; name its admin address with --admin")
    })?;
    if answer.status() != StatusCode::OK {
        bail!(
            "{address} answers with status {}; name the proxy's admin address with --admin",
            answer.status()
        );
    }
    Ok(String::from_utf8_lossy(answer.body()).into_owned())
}

fn metrics_of(admin: &str) -> String {
    format!("{}/metrics", admin.trim_end_matches('/'))
}

/// What these metrics say of the proof.
fn judge(admin: &str, page: &str) -> Result<()> {
    let address = metrics_of(admin);
    match proven(page) {
        Some(true) => {
            print(&format!("the proxy that listens here has proven it ({address})"));
            Ok(())
        }
        Some(false) => Err(Error::new(NotProven(address))),
        None => bail!(
            "what answers at {address} is no proxy that intercepts connections; name the proxy's admin address with --admin"
        ),
    }
}

/// What a proxy says of its proof; nothing if it intercepts nothing, or is no proxy.
fn proven(metrics: &str) -> Option<bool> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(METRIC))?;
    Some(value.split_ascii_whitespace().next() == Some("1"))
}

/// The exit code of an error that means "no proof".
pub(crate) fn exit_code(error: &Error) -> Option<u8> {
    let proof = error.downcast_ref::<ProofError>().is_some() || error.downcast_ref::<NotProven>().is_some();
    proof.then_some(ProofError::EXIT_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_says_of_itself_is_understood() {
        for (text, expected) in [
            (
                "# TYPE landbridge_redirect_proven gauge\nlandbridge_redirect_proven 1\n# EOF\n",
                Some(true),
            ),
            ("landbridge_redirect_proven 0\n", Some(false)),
            ("landbridge_redirect_proven 10\n", Some(false)),
            ("landbridge_redirect_installed 1\n", None),
            ("<html>", None),
        ] {
            assert_eq!(proven(text), expected, "{text}");
        }
    }

    #[test]
    fn only_a_missing_proof_has_its_exit_code() {
        let no_route = Error::new(ProofError::NoRoute).context("somewhere");
        assert_eq!(exit_code(&no_route), Some(95));
        let not_proven = Error::new(NotProven("http://a/metrics".to_owned()));
        assert_eq!(exit_code(&not_proven), Some(95));
        assert_eq!(exit_code(&Error::msg("something else")), None);
    }
}
