//! What `cargo xtask kube` calls.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use landbridge_control_plane::{MissingTools, Programs, Standing, Tool, down, tool, up};

/// How the program ends when it cannot do anything for want of Go; `cargo xtask` knows the number.
const MISSING_TOOLS: u8 = 3;

/// A Kubernetes control plane on loopback.
#[derive(Debug, Parser)]
#[command(name = "control-plane")]
enum Command {
    /// Build the programs, where that has not been done.
    Build,
    /// Build what charts are checked and installed with, and print where it is.
    ChartTools,
    /// Start it, and print the line that makes kubectl use it.
    Up,
    /// Stop it.
    Down,
    /// Print lines for a shell: KUBECONFIG and PATH.
    Env,
}

fn main() -> ExitCode {
    match run(&Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            match error.downcast_ref::<MissingTools>() {
                Some(_) => ExitCode::from(MISSING_TOOLS),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    // Standard output is for what a shell evaluates.
    let mut progress = |line: &str| {
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    match command {
        Command::Build => {
            Programs::find(&mut progress)?;
        }
        Command::ChartTools => {
            for one in [Tool::Helm, Tool::Kubeconform] {
                say(&format!("{}\n", tool(one, &mut progress)?.display()))?;
            }
        }
        Command::Up => say(&up(&mut progress)?.exports())?,
        Command::Down => progress(if down()? { "stopped" } else { "nothing to stop" }),
        Command::Env => match Standing::find()? {
            Some(standing) => say(&standing.exports())?,
            None => {
                progress("error: no control plane runs: start one with `cargo xtask kube up`");
                return Ok(ExitCode::FAILURE);
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
