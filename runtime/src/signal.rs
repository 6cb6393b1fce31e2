//! The signals that end a process: SIGTERM (kubelet, systemd) and SIGINT (Ctrl-C).

use tokio::signal::unix::{SignalKind, signal};

/// Completes at the first SIGTERM or SIGINT and names it. Called again, it waits for the next one: a second signal
/// usually means "now".
///
/// # Errors
/// When the handlers cannot be installed (the runtime has no signal driver).
pub async fn terminate() -> std::io::Result<&'static str> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
