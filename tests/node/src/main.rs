//! What `cargo xtask cluster` calls.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use landbridge_control_plane::MissingTools;
use landbridge_test_node::standing::{self, Standing};
use landbridge_test_node::{Cluster, Options, build, unable};

/// How the program ends when this machine can have no cluster; `cargo xtask` knows the number.
const UNABLE: u8 = 3;

/// A Kubernetes cluster with real nodes.
#[derive(Debug, Parser)]
#[command(name = "test-node")]
enum Command {
    /// Say what is missing on this machine, and end with 3 when something is.
    Check,
    /// Build the programs, where that has not been done.
    Build,
    /// Start one that ends with this process, or when its standard input ends; print lines for a shell.
    Run,
    /// Start it, and print the lines that make kubectl use it.
    Up,
    /// Add a node.
    AddNode {
        /// Its name.
        name: String,
    },
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
                Some(_) => ExitCode::from(UNABLE),
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
        Command::Check => {
            if let Some(reason) = unable() {
                progress(&reason);
                return Ok(ExitCode::from(UNABLE));
            }
        }
        Command::Build => build(&mut progress)?,
        Command::Run => hold()?,
        Command::Up => say(&standing::up(&mut progress)?.exports())?,
        Command::AddNode { name } => {
            standing::add_node(name, &mut progress)?;
            progress(&format!("{name} is ready"));
        }
        Command::Down => progress(if standing::down()? {
            "stopped"
        } else {
            "nothing to stop"
        }),
        Command::Env => match Standing::find()? {
            Some(standing) => say(&standing.exports())?,
            None => {
                progress("error: no cluster runs: start one with `cargo xtask cluster up`");
                return Ok(ExitCode::FAILURE);
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn hold() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let cluster = runtime.block_on(Cluster::start(Options::default()))?;
    let mut lines = String::new();
    for (name, value) in cluster.environment() {
        lines.push_str(&format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    }
    lines.push_str(&format!("enter='{}'\n", cluster.enter().join(" ")));
    say(&lines)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    runtime.block_on(cluster.stop());
    Ok(())
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
