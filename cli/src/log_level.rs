//! `landbridge log-level`: changes what a running process logs, without a restart; for `kubectl exec`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client::{self, CallLimits};

use crate::output;

/// Longest time for the answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Options of `log-level`.
#[derive(Debug, Args)]
pub(crate) struct LogLevelArgs {
    /// A level (trace, debug, info, warn, error, off), or target=level pairs ("info,landbridge_operator=debug").
    #[arg(value_name = "FILTER")]
    pub filter: String,
    /// Admin address of the process, on this machine or in this pod.
    #[arg(
        long,
        env = "LANDBRIDGE_ADMIN_URL",
        default_value = "http://127.0.0.1:9494",
        value_name = "URL"
    )]
    pub admin: String,
}

/// Asks the process.
///
/// # Errors
/// It cannot be reached, or does not know the filter.
pub(crate) async fn run(args: LogLevelArgs) -> Result<()> {
    let client = http_client::standard(Dialer::new(AddressPolicy::Any)?, &[])?;
    let address = format!("{}/loglevel", args.admin.trim_end_matches('/'));
    let request = Request::builder()
        .method(Method::PUT)
        .uri(&address)
        .body(Bytes::from(args.filter))
        .with_context(|| format!("{address} is no address"))?;
    let limits = CallLimits {
        answer: DEADLINE,
        max_body: 16 << 10,
    };
    let answer = client
        .call(request, limits)
        .await
        .with_context(|| format!("asking {address}; name the process with --admin"))?;
    let text = String::from_utf8_lossy(answer.body());
    if !answer.status().is_success() {
        bail!("{}", text.trim_end());
    }
    output::print(&text);
    Ok(())
}
