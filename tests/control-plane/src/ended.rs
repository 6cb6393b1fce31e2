//! How a program that a test has run has ended.

use std::process::Output;

/// How a program has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit code, or `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    command: String,
}

impl Ended {
    /// The end of `command`, which is for messages.
    pub fn new(command: impl Into<String>, output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: command.into(),
        }
    }

    /// The same for a command that could not be started or was given up, with the reason as its standard error.
    pub fn without(command: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            code: None,
            stdout: String::new(),
            stderr: reason.into(),
            command: command.into(),
        }
    }

    /// Its output; panics with everything it has said when it failed.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "{}: {}{}",
            self.command,
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// What it said when it failed; panics when it did not.
    #[track_caller]
    pub fn failure(self) -> String {
        assert_ne!(self.code, Some(0), "{} succeeded: {}", self.command, self.stdout);
        self.stderr
    }
}
