//! Developer commands: `cargo xtask test` is what CI runs, `cargo xtask --help` lists the rest.
//!
//! Kept free of the product's own crates, so that it builds in seconds and can report a broken room.

mod arrows;
mod cluster;
mod conformance;
mod counts;
mod image;
mod kube;
mod netns;
mod process;
mod sizes;
mod steps;
mod store;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::cluster::Cluster;
use crate::image::Image;
use crate::kube::Kube;
use crate::steps::Step;
use crate::workspace::Workspace;

/// Developer commands of Landbridge.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything CI runs, in order; ends with the line `N passed, N failed`.
    Test {
        /// Run only this step; may be given several times.
        #[arg(long, value_name = "NAME")]
        only: Vec<Step>,
        /// Print the names of the steps and what each does, and run nothing.
        #[arg(long)]
        list: bool,
    },
    /// Write crds/yaml, and the copy in the chart, anew from the Rust types.
    Crds,
    /// Build with the `quick-release` profile and run the load program of `tests/`.
    Bench {
        /// Passed on to the load program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the container image of the release, as an archive for every container runtime, with its bill of materials.
    Image(Image),
    /// A Kubernetes cluster with real nodes in network namespaces of its own, to try things out.
    Cluster {
        /// What to do.
        #[command(subcommand)]
        action: Cluster,
    },
    /// A Kubernetes control plane on loopback, to try things out.
    Kube {
        /// What to do.
        #[command(subcommand)]
        action: Kube,
    },
    /// Call a running store through the client libraries of the original service (Node.js).
    SdkConformance,
    /// Install the command line tools that the build and the suites need (as root, with apt-get), or name them.
    Tools,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let workspace = Workspace::find()?;
    match arguments.command {
        Command::Test { list: true, .. } => {
            steps::list();
            Ok(ExitCode::SUCCESS)
        }
        Command::Test { only, list: false } => steps::run(&workspace, &only),
        Command::Crds => crds(&workspace),
        Command::Bench { arguments } => bench(&workspace, &arguments),
        Command::Image(image) => image.run(&workspace),
        Command::Cluster { action } => action.run(&workspace),
        Command::Kube { action } => action.run(&workspace),
        Command::SdkConformance => conformance::sdk_command(&workspace),
        Command::Tools => tools::report(),
    }
}

/// The drift test of the crate writes the files itself when asked to, so that the generator and the check
/// cannot disagree.
fn crds(workspace: &Workspace) -> Result<ExitCode> {
    let mut command = workspace.cargo();
    command
        .args(["test", "-p", "landbridge-crds", "--lib", "--", "yaml::"])
        .env("LANDBRIDGE_WRITE_YAML", "1");
    process::run_plain("crds", &mut command)
}

fn bench(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    const PROFILE: &str = "quick-release";
    let mut build = workspace.cargo();
    build.args(["build", "--profile", PROFILE, "-p", "landbridge"]);
    let built = process::run_plain("build", &mut build)?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }
    let mut load = workspace.cargo();
    load.args([
        "run",
        "--profile",
        PROFILE,
        "-p",
        "landbridge-tests",
        "--bin",
        "bench",
        "--",
    ])
    .args(arguments)
    .env(workspace::BINARY_VARIABLE, workspace.binary(PROFILE)?);
    process::run_plain("bench", &mut load)
}
