//! `landbridge`: the one binary. Arguments, logging and wiring; what it does is in the rooms.

mod args;
mod check;
mod demo;
mod explain;
mod log_level;
mod operator;
mod operator_link;
mod output;
mod proxy;
mod ready;
mod redirect;
mod runner;
mod standalone;
mod store;
mod tunnel;
mod validate_redirect;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, FromArgMatches as _};
use landbridge_runtime::problems::InvalidConfig;
use landbridge_runtime::telemetry::{self, LogFormat};

use args::{Cli, Command, ConnectorCommand};

/// Name under which kubectl finds this program: `kubectl landbridge ...`.
const PLUGIN: &str = "kubectl-landbridge";

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
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
        Err(error) => fail(&describe(&error), exit_code(&error)),
    }
}

/// Of a command line that cannot be used, of connections that are not redirected, of everything else.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<InvalidConfig>().is_some() {
        return InvalidConfig::EXIT_CODE;
    }
    validate_redirect::exit_code(error).unwrap_or(1)
}

/// Reads the command line. Under the name of a plugin of kubectl, help says what people type.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments.first().map(PathBuf::from);
    let name = name.as_deref().and_then(Path::file_stem);
    let mut command = Cli::command();
    if name.is_some_and(|name| name == PLUGIN) {
        command = command.bin_name("kubectl landbridge");
    }
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// Help and the version are what was asked for; everything else is a wrong command line.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(InvalidConfig::EXIT_CODE)
    } else {
        ExitCode::SUCCESS
    }
}

async fn execute(command: Command) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Standalone(args) => standalone::run(*args).await,
        Command::Connector(ConnectorCommand::Run { config }) => tunnel::run_connector(&config).await,
        Command::Tunnel(command) => tunnel::run(command).await,
        Command::Store(args) => store::run(*args).await,
        Command::Operator(args) => operator::run(*args).await,
        Command::Proxy(args) => proxy::run(*args).await,
        Command::Check(args) => check::run(*args).await,
        Command::Explain(args) => explain::run(*args).await,
        Command::Redirect(command) => redirect::run(command).await,
        Command::ValidateRedirect(args) => validate_redirect::run(args).await,
        Command::LogLevel(args) => log_level::run(args).await,
        Command::Ready { file } => ready::check(&file),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn help(line: &[&str]) -> String {
        let error = parse(line.iter().map(OsString::from)).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_plugin_of_kubectl_says_what_people_type() {
        for (program, usage) in [
            (
                "/usr/local/bin/kubectl-landbridge",
                "Usage: kubectl landbridge check ",
            ),
            ("/landbridge", "Usage: landbridge check "),
        ] {
            let text = help(&[program, "check", "--help"]);
            assert!(text.contains(usage), "{text}");
        }
        let plugin = [
            "kubectl-landbridge",
            "explain",
            "erp",
            "-n",
            "shop",
            "--context",
            "c",
            "--kubeconfig",
            "f",
        ];
        assert_eq!(help(&plugin), "");
        let plugin = [
            "kubectl-landbridge",
            "check",
            "-n",
            "system",
            "--context",
            "c",
            "--kubeconfig",
            "f",
            "-o",
            "json",
        ];
        assert_eq!(help(&plugin), "");
    }
}
