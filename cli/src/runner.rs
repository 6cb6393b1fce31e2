//! The tokio runtime, and how a long-running command stops.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::signal;

/// Threads for data: all cores, but at least two, so that one long poll cannot stop the rest.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).max(2)
}

/// Runs `main` on a new runtime.
///
/// # Errors
/// The runtime cannot be made, or what `main` says.
pub(crate) fn block_on<F: Future<Output = Result<()>>>(main: F) -> Result<()> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(main);
    // Blocking look-ups must not hold the exit up.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// Every connection is a descriptor, usually two; the default soft limit of 1024 is for interactive programs.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

/// Asks `shutdown` to drain at the first SIGTERM or SIGINT, and ends the process at the second.
///
/// # Errors
/// The signal handlers cannot be installed.
pub(crate) async fn stop_on_signal(shutdown: Shutdown) -> Result<()> {
    let signal = signal::terminate().await.context("installing signal handlers")?;
    tracing::info!(signal, "draining; a second signal ends at once");
    shutdown.begin();
    end_at_signal();
    Ok(())
}

/// From now on a signal ends the process at once; for a drain that may take long.
pub(crate) fn end_at_signal() {
    tokio::spawn(async {
        if signal::terminate().await.is_ok() {
            std::process::exit(130);
        }
    });
}
