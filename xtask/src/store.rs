//! The step `store`: the store's tests, once on each database.

use std::process::Command;

use anyhow::Result;

use crate::counts::Counts;
use crate::process::{self, say};
use crate::tools;
use crate::workspace::Workspace;

/// The room.
pub(crate) const PACKAGE: &str = "landbridge-store";

/// The crate that starts PostgreSQL; its own tests need one.
pub(crate) const POSTGRES_PACKAGE: &str = "landbridge-test-postgres";

/// Chooses the database of the tests; without it they use SQLite.
const VARIABLE: &str = "LANDBRIDGE_TEST_DATABASE";

/// The store's tests on one database. Tests about one of the two are in modules with these names.
fn tests(workspace: &Workspace, database: &str) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["test", "--no-fail-fast", "-p", PACKAGE])
        .args(workspace.locked())
        .env(VARIABLE, database);
    if database == "postgresql" {
        command.args(["-p", POSTGRES_PACKAGE, "--lib", "--tests"]);
        command.args(["--", "--include-ignored", "--skip", "sqlite_only::"]);
    } else {
        command.args(["--", "--skip", "postgres_only::"]);
    }
    command
}

/// Runs the tests on both.
pub(crate) fn run(workspace: &Workspace) -> Result<Counts> {
    for tool in tools::ensure(tools::SUITES)? {
        say(&format!("missing: {} (package {})", tool.command, tool.package));
    }
    let mut sum = on(workspace, "sqlite")?;
    let missing = tools::ensure(tools::POSTGRES)?;
    for tool in &missing {
        say(&format!("missing: {} (package {})", tool.command, tool.package));
    }
    sum += match (missing.is_empty(), workspace.is_ci()) {
        (true, _) => on(workspace, "postgresql")?,
        (false, true) => Counts::step(false),
        (false, false) => {
            say("skipped: the tests on PostgreSQL");
            let mut list = tests(workspace, "postgresql");
            let listed = process::capture("store (list)", list.arg("--list"))?;
            Counts {
                ignored: listed.map_or(1, |lines| crate::kube::listed(&lines)),
                ..Counts::default()
            }
        }
    };
    Ok(sum)
}

fn on(workspace: &Workspace, database: &str) -> Result<Counts> {
    say(&format!("-- store on {database}"));
    let ended = process::run(&format!("store on {database}"), &mut tests(workspace, database))?;
    let counts = ended.tests.of_test_run(ended.success);
    say(&format!(
        "-- store on {database}: {} passed, {} failed, {} ignored",
        counts.passed, counts.failed, counts.ignored
    ));
    Ok(counts)
}
