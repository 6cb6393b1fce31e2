//! Logs: one line per event on standard error, text or JSON, written by a thread of their own so that a slow or stuck
//! terminal or pipe never blocks a worker. Lines that find the queue full are dropped and counted.

use std::io::{IsTerminal, Write};
use std::str::FromStr;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait for the writer, about 2 MB. Losing lines when it is full is the lesser evil: waiting would stop
/// all traffic for as long as nobody reads standard error.
const QUEUE: usize = 10_000;

/// Of the process's one log, for the metrics.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Log lines of this process that were dropped because the writer could not keep up; also published as
/// `landbridge_log_lines_dropped_total`.
pub fn dropped() -> u64 {
    DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("'{other}' is not a log format; use text or json")),
        }
    }
}

/// Starts logging. `filter` is a level or a list of `target=level` (the syntax of `RUST_LOG`). Keep the guard until
/// the end of `main`: dropping it writes what is still queued.
///
/// # Errors
/// The filter is malformed, or logging was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<WorkerGuard, String> {
    let filter = EnvFilter::try_new(filter).map_err(|e| format!("log filter '{filter}': {e}"))?;
    let (writer, guard) = queue(std::io::stderr());
    let dropped = writer.error_counter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    let exchange: Exchange = match format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|e| e.to_string())?;
            Box::new(move |filter| handle.reload(filter).map_err(|e| e.to_string()))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|e| e.to_string())?;
            Box::new(move |filter| handle.reload(filter).map_err(|e| e.to_string()))
        }
    };
    let _ = EXCHANGE.set(exchange);
    let _ = DROPPED.set(dropped);
    Ok(guard)
}

/// Logs by another filter from now on, of the same syntax as for [`init`].
///
/// # Errors
/// The filter is malformed, or logging was not started.
pub fn set_filter(filter: &str) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter).map_err(|e| format!("log filter '{filter}': {e}"))?;
    let exchange = EXCHANGE.get().ok_or("logging was not started")?;
    exchange(parsed)
}

/// Whether [`init`] would take this filter, for those who give filters to other processes.
///
/// # Errors
/// The filter is malformed.
pub fn check_filter(filter: &str) -> Result<(), String> {
    match EnvFilter::try_new(filter) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("log filter '{filter}': {error}")),
    }
}

/// Puts another filter in the place of the one in use.
type Exchange = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static EXCHANGE: OnceLock<Exchange> = OnceLock::new();

fn queue<W: Write + Send + 'static>(to: W) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE)
        .finish(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A pipe that nobody reads: every write waits until the sender is gone.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_writer_costs_lines_and_stops_nobody() {
        let (release, stuck) = mpsc::channel();
        let (writer, guard) = queue(Stuck(stuck));
        let (done, finished) = mpsc::channel();
        let mut worker = writer.clone();
        std::thread::spawn(move || {
            for _ in 0..2 * QUEUE {
                worker.write_all(b"line\n").unwrap();
            }
            done.send(()).unwrap();
        });
        finished
            .recv_timeout(std::time::Duration::from_secs(60))
            .expect("the worker waits for the log");
        let dropped = writer.error_counter().dropped_lines();
        // All but the queue and the one line in the writer's hands.
        assert!((QUEUE - 2..=QUEUE).contains(&dropped), "{dropped} dropped");
        drop(release);
        drop(guard);
    }
}
