//! What a command tells its caller, on standard output. Logs go to standard error.

use std::io::Write as _;

/// Writes a line. A reader that has gone away (`| head`) is no error.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
