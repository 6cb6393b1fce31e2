//! What the command line of `redirect` says, checked as a whole.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::time::Duration;

use landbridge_proxy::control;
use landbridge_redirect::settings::{check_destinations, parse_destination, parse_destinations};
use landbridge_redirect::{Destinations, Mode, Network, Settings};
use landbridge_runtime::problems::{InvalidConfig, Problems};

use super::args::{ApplyArgs, RulesArgs, Way};

/// Longest list of destinations: 65 536 lines of an IPv6 address each are 4 MB.
const MAX_FILE: u64 = 8 << 20;

/// How long the operator is waited for while a pod starts.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Checks rules and destinations; reads the list.
///
/// # Errors
/// Every mistake.
pub(super) fn rules(args: &RulesArgs) -> Result<(Settings, Destinations), InvalidConfig> {
    let mut problems = Problems::new();
    let checked = check_rules(args, &mut problems);
    problems.finish(Some(checked))
}

/// The same with the operator, if one is to be asked.
///
/// # Errors
/// Every mistake.
pub(super) fn apply(
    args: &ApplyArgs,
) -> Result<(Settings, Destinations, Option<control::Settings>), InvalidConfig> {
    let mut problems = Problems::new();
    let (settings, destinations) = check_rules(&args.rules, &mut problems);
    let operator = args
        .operator
        .as_deref()
        .map(|operator| args.link.settings(operator, None, &mut problems));
    problems.finish(Some((settings, destinations, operator.flatten())))
}

fn check_rules(args: &RulesArgs, problems: &mut Problems) -> (Settings, Destinations) {
    let mut networks = BTreeSet::new();
    for text in &args.network {
        networks.extend(problems.take("--network", text.parse::<Network>()));
    }
    let mode = match args.mode {
        Way::Sidecar => Mode::Sidecar {
            proxy_uid: args.proxy_uid,
            networks: networks.into_iter().collect(),
        },
        Way::Node => {
            if args.proxy_uid.is_some() {
                problems.add(
                    "--proxy-uid",
                    "is for mode sidecar; connections of a node's own processes are never redirected",
                );
            }
            if !args.network.is_empty() {
                problems.add(
                    "--network",
                    "is for mode sidecar; a node redirects destinations alone",
                );
            }
            Mode::Node
        }
    };
    let settings = Settings {
        mode,
        port: args.port,
    };
    if let Err(error) = settings.check() {
        problems.add("--proxy-uid", error);
    }
    let mut destinations = Destinations::new();
    for text in &args.destination {
        destinations.extend(problems.take("--destination", parse_destination(text)));
    }
    if let Some(file) = &args.destinations_file {
        destinations.extend(listed(file, problems));
    }
    if let Err(error) = check_destinations(&destinations) {
        problems.add("--destination", error);
    }
    (settings, destinations)
}

fn listed(file: &str, problems: &mut Problems) -> Destinations {
    let field = "--destinations-file";
    let Some(text) = problems.take(field, read(file)) else {
        return Destinations::new();
    };
    match parse_destinations(&text) {
        Ok(destinations) => destinations,
        Err(wrong) => {
            // Enough to see what is wrong with a long list.
            for problem in wrong.into_iter().take(20) {
                problems.add(field, format_args!("{file}, {problem}"));
            }
            Destinations::new()
        }
    }
}

fn read(file: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read {file}: {error}");
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin()
            .lock()
            .take(MAX_FILE + 1)
            .read_to_string(&mut text)
    } else {
        let opened = std::fs::File::open(file).map_err(failed)?;
        opened.take(MAX_FILE + 1).read_to_string(&mut text)
    };
    read.map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("{file} is larger than {MAX_FILE} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
