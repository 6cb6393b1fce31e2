//! `landbridge`: the one binary. Arguments, logging and wiring; what it does is in the rooms.

mod args;
mod demo;
mod explain;
mod log_level;
mod operator;
mod output;
mod proxy;
mod ready;
mod runner;
mod standalone;
mod store;
mod tunnel;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use landbridge_runtime::problems::InvalidConfig;
use landbridge_runtime::telemetry::{self, LogFormat};

use args::{Cli, Command, ConnectorCommand};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The demo's own output is its table; its children have logs of their own.
    let filter = if matches!(cli.command, Command::Demo(_)) && cli.log == "info" {
        "warn"
    } else {
        &cli.log
    };
    let format = cli.log_format.parse::<LogFormat>();
    let logging = format.and_then(|format| telemetry::init(format, filter));
    let _guard = match logging {
        Ok(guard) => guard,
        Err(error) => {
            return fail(
                &format!("cannot start logging: {error}"),
                InvalidConfig::EXIT_CODE,
            );
        }
    };
    landbridge_runtime::tls::install_provider();
    match runner::block_on(execute(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let wrong_config = error.downcast_ref::<InvalidConfig>().is_some();
            fail(
                &describe(&error),
                if wrong_config { InvalidConfig::EXIT_CODE } else { 1 },
            )
        }
    }
}

async fn execute(command: Command) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Standalone(args) => standalone::run(*args).await,
        Command::Connector(ConnectorCommand::Run { config }) => tunnel::run_connector(&config).await,
        Command::Tunnel(command) => tunnel::run(command).await,
        Command::Store(command) => store::run(command).await,
        Command::Operator(args) => operator::run(*args).await,
        Command::Proxy(args) => proxy::run(*args).await,
        Command::Explain(args) => explain::run(*args).await,
        Command::LogLevel(args) => log_level::run(args).await,
        Command::Crds => {
            output::print(&landbridge_crds::yaml::crd_yaml()?);
            Ok(())
        }
    }
}

/// The error and its causes, without those that an error has told in its own words already.
fn describe(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !told.contains(&cause) {
            told.push_str(if told.is_empty() { "" } else { ": " });
            told.push_str(&cause);
        }
    }
    told
}

fn fail(message: &str, code: u8) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "landbridge: {message}");
    ExitCode::from(code)
}
