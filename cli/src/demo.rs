//! `landbridge demo`: the whole way on one machine, with nothing installed.
//!
//! This process is "the Internet" and "the company's systems"; its children are the real thing: `landbridge
//! standalone` (store, tunnel acceptor and proxy) and `landbridge connector run`, which enrols itself with a one-time
//! token. Then the calls of a pod are made, in plain HTTP and without credentials.

mod calls;
mod client;
mod landscape;
mod process;
mod report;
mod targets;

use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::DemoArgs;
use crate::output::print;
use calls::{CALLS, Outcome};
use landscape::Landscape;

/// Runs the demo.
///
/// # Errors
/// A part did not start, or (with `--check`) a call did not go as it must.
pub(crate) async fn run(args: DemoArgs) -> Result<()> {
    let progress = Progress::new(args.json);
    let landscape = tokio::select! {
        landscape = Landscape::start(&progress) => landscape?,
        signal = landbridge_runtime::signal::terminate() => bail!("stopped by {} while starting", signal?),
    };
    progress.step("calling");
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(CALLS.len());
    for call in &CALLS {
        outcomes.push(client::make(call, &landscape).await);
    }
    progress.finish();
    if args.json {
        print(&report::json(&outcomes));
    } else {
        print(&report::table(&outcomes));
    }
    let all_ok = report::count_ok(&outcomes) == outcomes.len();
    if !all_ok {
        print(&landscape.logs());
    }
    if !args.check {
        print(&landscape.invitation());
        let signal = landbridge_runtime::signal::terminate().await?;
        tracing::info!(signal, "stopping");
    }
    landscape.stop().await;
    if !args.json {
        print(&report::summary(&outcomes));
    }
    if !all_ok {
        bail!("not every call went as it must; the table says which");
    }
    Ok(())
}

/// One line that says what is being waited for, on terminals only; plain lines otherwise.
pub(crate) struct Progress {
    bar: ProgressBar,
    plain: bool,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self {
            plain: bar.is_hidden() && !quiet,
            bar,
        }
    }

    /// Says what is being done now.
    pub(crate) fn step(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        if self.plain {
            print(&format!("demo: {what}"));
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
