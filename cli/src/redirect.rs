//! `landbridge redirect`: the rules that lead connections to the proxy beside the workload.

use anyhow::{Result, bail};
use landbridge_proxy::control;
use landbridge_redirect::kernel::{self, Claim, Outcome};
use landbridge_redirect::plan::{Features, plan};
use landbridge_redirect::settings::check_destination;
use landbridge_redirect::{Destinations, Family, MAX_DESTINATIONS, Mode, routing_commands};
use serde_json::json;

use crate::output::print;

pub(crate) mod args;
mod settings;
mod view;

use args::{ApplyArgs, Format, PlanArgs, RedirectCommand};

/// No process keeps what was written by hand: a proxy of a node that runs takes it over.
const NO_OWNER: &str = "";

/// Runs `landbridge redirect ...`.
///
/// # Errors
/// Wrong arguments, or the kernel refuses.
pub(crate) async fn run(command: RedirectCommand) -> Result<()> {
    match command {
        RedirectCommand::Plan(args) => show_plan(&args),
        RedirectCommand::Apply(args) => apply(&args).await,
        RedirectCommand::Remove => remove().await,
        RedirectCommand::Show { output } => show(output).await,
    }
}

fn show_plan(args: &PlanArgs) -> Result<()> {
    let (settings, destinations) = settings::rules(&args.rules)?;
    let table = plan(&settings, NO_OWNER, &destinations, Features::default());
    let routing = if settings.mode == Mode::Node {
        routing_commands()
    } else {
        Vec::new()
    };
    match args.output {
        Format::Json => print(&serde_json::to_string_pretty(&view::table(
            &table,
            &json!(routing),
        ))?),
        Format::Text => {
            let comments: String = routing.iter().map(|line| format!("# {line}\n")).collect();
            print(format!("{comments}{table}").trim_end());
        }
    }
    Ok(())
}

async fn apply(args: &ApplyArgs) -> Result<()> {
    let (settings, mut destinations, operator) = settings::apply(args)?;
    if let Some(operator) = operator {
        destinations.extend(ask(&operator).await);
    }
    match kernel::apply(
        &settings,
        NO_OWNER,
        &destinations,
        Features::default(),
        Claim::Take,
    )
    .await?
    {
        Outcome::Done { changed, features } => {
            tracing::info!(
                mode = %settings.mode,
                destinations = destinations.len(),
                changed,
                ipv6 = features.ipv6,
                "redirection rules are in place"
            );
            if features.bridge_filter {
                tracing::warn!(
                    "net.bridge.bridge-nf-call-iptables is 1: connections of pods on a bridge go to the gateways"
                );
            }
            Ok(())
        }
        Outcome::OwnedByOther => {
            bail!("another process has written its own rules meanwhile; look with `landbridge redirect show`")
        }
    }
}

/// What this pod may use, as things are now. Whatever goes wrong: nothing then, since a pod must start, and what is not
/// redirected is served by gateways.
async fn ask(operator: &control::Settings) -> Destinations {
    let whole = match control::snapshot(operator, settings::PATIENCE).await {
        Ok(whole) => whole,
        Err(error) => {
            tracing::warn!(
                %error,
                "the operator did not say which destinations there are; none are redirected, gateways serve them"
            );
            return Destinations::new();
        }
    };
    let frontends = whole.routes.into_iter().flat_map(|route| route.frontends);
    let (mut usable, mut left_out) = (Destinations::new(), 0);
    for frontend in frontends {
        if usable.len() < MAX_DESTINATIONS && check_destination(frontend).is_ok() {
            usable.insert(frontend);
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        tracing::warn!(
            left_out,
            "some destinations cannot be redirected; gateways serve them"
        );
    }
    usable
}

async fn remove() -> Result<()> {
    match kernel::remove(None).await? {
        Outcome::Done { changed: true, .. } => print("redirection rules removed"),
        Outcome::Done { changed: false, .. } => print("no redirection rules were there"),
        Outcome::OwnedByOther => bail!("another process keeps the rules"),
    }
    Ok(())
}

async fn show(format: Format) -> Result<()> {
    let Some(installed) = kernel::read().await? else {
        match format {
            Format::Json => print("null"),
            Format::Text => print("# no redirection rules in this network namespace"),
        }
        return Ok(());
    };
    let routed: Vec<&str> = installed.routed.iter().copied().map(name).collect();
    match format {
        Format::Json => print(&serde_json::to_string_pretty(&view::table(
            &installed.table,
            &json!(routed),
        ))?),
        Format::Text => {
            let routed = if routed.is_empty() {
                "none".to_owned()
            } else {
                routed.join(", ")
            };
            print(
                format!(
                    "# delivered here by policy routing: {routed}\n{}",
                    installed.table
                )
                .trim_end(),
            );
        }
    }
    Ok(())
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
