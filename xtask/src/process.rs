//! Child processes: their output is passed on as it comes, and a line says every 30 s that a long one still runs.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::counts::Counts;

// A monotonic clock; the ban is for code that tests want to run on tokio's paused time.
#[allow(clippy::disallowed_types, reason = "no tokio in this program")]
pub(crate) type Clock = std::time::Instant;

/// How long a step may be silent: CI systems end jobs that say nothing for minutes.
const SILENCE: Duration = Duration::from_secs(30);

/// How a child ended and what its `test result:` lines add up to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) tests: Counts,
    pub(crate) last_line: String,
}

/// Runs `command` to its end and passes its lines on to standard output; `name` appears in the progress lines.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<Ended> {
    run_into(name, command, &mut say)
}

/// The same with another way to pass its lines on.
// The tests below print `test result:` lines, which an outer run must not count.
pub(crate) fn run_into(name: &str, command: &mut Command, sink: &mut dyn FnMut(&str)) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
    let output = child.stdout.take().context("the child has no standard output")?;
    let (receive, reader) = lines(output);
    let mut ended = Ended {
        success: false,
        code: None,
        tests: Counts::default(),
        last_line: String::new(),
    };
    let start = Clock::now();
    loop {
        match receive.recv_timeout(SILENCE) {
            Ok(line) => {
                if let Some(counts) = Counts::parse(&line) {
                    ended.tests += counts;
                }
                sink(&line);
                if !line.is_empty() {
                    ended.last_line = line;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                say(&format!(
                    "... {name}: running for {} s",
                    start.elapsed().as_secs()
                ));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    (ended.success, ended.code) = (status.success(), status.code());
    // The reader ended before the channel closed; joining only collects a panic.
    if reader.join().is_err() {
        ended.success = false;
    }
    Ok(ended)
}

/// The lines of a child's output, read on a thread of their own.
fn lines(output: ChildStdout) -> (Receiver<String>, JoinHandle<()>) {
    // Bounded: a chatty child waits for the terminal instead of filling memory.
    let (send, receive) = sync_channel::<String>(1024);
    let reader = std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if send.send(text).is_err() {
                break;
            }
        }
    });
    (receive, reader)
}

/// Runs `command` and turns its end into this program's own.
pub(crate) fn run_plain(name: &str, command: &mut Command) -> Result<ExitCode> {
    let ended = run(name, command)?;
    Ok(if ended.success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs `command` to its end and returns its lines instead of passing them on; none when it failed.
pub(crate) fn capture(name: &str, command: &mut Command) -> Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    let ended = run_into(name, command, &mut |line: &str| lines.push(line.to_owned()))?;
    Ok(ended.success.then_some(lines))
}

/// One line on standard output; a closed pipe (`| head`) is not worth a panic.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn results_of_several_test_binaries_are_summed() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored'; echo between; \
                      echo 'test result: FAILED. 3 passed; 1 failed; 0 ignored'; printf 'end'; exit 3";
        let mut lines = Vec::new();
        let ended = run_into("sh", &mut shell(script), &mut |line: &str| {
            lines.push(line.to_owned())
        })
        .unwrap();
        assert_eq!((lines.len(), lines[1].as_str()), (4, "between"));
        assert_eq!(
            ended.tests,
            Counts {
                passed: 5,
                failed: 1,
                ignored: 1
            }
        );
        assert_eq!(ended.last_line, "end");
        assert!(!ended.success);
        assert_eq!(ended.code, Some(3));
    }

    #[test]
    fn captured_lines_are_those_of_a_success() {
        let lines = capture("sh", &mut shell("echo one; echo two")).unwrap();
        assert_eq!(lines, Some(vec!["one".to_owned(), "two".to_owned()]));
        assert_eq!(capture("sh", &mut shell("echo one; exit 1")).unwrap(), None);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run("x", &mut Command::new("/nonexistent/program")).unwrap_err();
        assert!(
            format!("{error:#}").contains("start /nonexistent/program"),
            "{error:#}"
        );
    }
}
