//! What `cargo xtask test` does, in order. Every step runs even after a failure, so that one run shows everything.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::ValueEnum;

use crate::counts::Counts;
use crate::process::{self, Clock, say};
use crate::workspace::{BINARY_VARIABLE, Workspace};
use crate::{arrows, cluster, conformance, image, kube, netns, sizes, store, tools};

/// The package with the suites that cross rooms; its tests need the built binary.
const E2E_PACKAGE: &str = "landbridge-tests";

/// The target of that package whose tests need a control plane of Kubernetes.
const KUBERNETES_TARGET: &str = "kubernetes";

/// The target whose tests render and install the charts.
const CHARTS_TARGET: &str = "charts";

/// The target whose tests need network namespaces.
const NETNS_TARGET: &str = "netns";

/// The target of that package whose tests need a node.
const CLUSTER_TARGET: &str = "cluster";

/// One step; cheap ones first, so that a slip shows within seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// cargo fmt --check
    Fmt,
    /// only the arrows of the plan between rooms
    Arrows,
    /// no Rust file over 500 lines
    Sizes,
    /// cargo clippy over all targets, warnings are errors
    Clippy,
    /// cargo doc, warnings are errors
    Docs,
    /// licences, banned crates and sources of all dependencies (cargo-deny)
    Deny,
    /// the tests of every room but the store
    Unit,
    /// the tests of the store, on SQLite and on PostgreSQL
    Store,
    /// the real binary as real processes, on real sockets
    E2e,
    /// the client libraries of the original service against a running store
    Sdk,
    /// every path of a running store against the description of its API (schemathesis)
    Openapi,
    /// interception by the kernel's packet filter, in network namespaces
    Netns,
    /// the real binary on a real API server of Kubernetes, built once from source
    Operator,
    /// the Helm charts: rendered, linted, compared with schemas, installed on that API server
    Charts,
    /// installed with Helm on real nodes of Kubernetes, called by pods
    Cluster,
    /// the built binary: landbridge demo --check
    Demo,
    /// the built binary as a container image, and that it runs in nothing but itself
    Image,
}

/// Prints every step and what it does.
pub(crate) fn list() {
    for step in Step::value_variants() {
        if let Some(value) = step.to_possible_value() {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            say(&format!("{:8} {help}", value.get_name()));
        }
    }
}

/// Runs all steps, or those of `only`, and prints the sum as the last line.
pub(crate) fn run(workspace: &Workspace, only: &[Step]) -> Result<ExitCode> {
    let mut sum = Counts::default();
    let mut failed = Vec::new();
    for tool in tools::ensure(&[tools::BUILD, tools::IMAGE].concat())? {
        say(&format!(
            "missing: {} ({}): install the package {}",
            tool.command, tool.needed_by, tool.package
        ));
    }
    for step in Step::value_variants()
        .iter()
        .filter(|step| only.is_empty() || only.contains(step))
    {
        let name = step.name();
        say(&format!("== {name}"));
        let start = Clock::now();
        let counts = step.run(workspace).unwrap_or_else(|error| {
            say(&format!("error: {error:#}"));
            Counts::step(false)
        });
        let verdict = match (counts.passed, counts.failed, counts.ignored) {
            (0, 0, 1..) => "SKIPPED",
            (_, 0, _) => "ok",
            _ => "FAILED",
        };
        say(&format!(
            "== {name}: {verdict}, {} passed, {} failed, {} ignored, {:.1} s",
            counts.passed,
            counts.failed,
            counts.ignored,
            start.elapsed().as_secs_f64()
        ));
        if counts.failed > 0 {
            failed.push(name);
        }
        sum += counts;
    }
    if sum.ignored > 0 {
        say(&format!("ignored tests: {}", sum.ignored));
    }
    if !failed.is_empty() {
        say(&format!("failed steps: {}", failed.join(", ")));
    }
    say(&format!("{} passed, {} failed", sum.passed, sum.failed));
    Ok(if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    fn run(self, workspace: &Workspace) -> Result<Counts> {
        match self {
            Self::Fmt => self.plain(workspace.cargo().args(["fmt", "--all", "--check"])),
            Self::Arrows => Ok(verdict(&arrows::violations(&workspace.metadata()?))),
            Self::Sizes => Ok(verdict(&sizes::violations(workspace.root())?)),
            Self::Clippy => self.plain(
                workspace
                    .cargo()
                    .args(["clippy", "--workspace", "--all-targets"])
                    .args(workspace.locked())
                    .args(["--", "-D", "warnings"]),
            ),
            Self::Docs => self.plain(
                workspace
                    .cargo()
                    .args(["doc", "--workspace", "--no-deps"])
                    .args(workspace.locked())
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ),
            Self::Deny => self.deny(workspace),
            Self::Unit => self.tests(
                workspace
                    .cargo()
                    .args(["test", "--workspace", "--no-fail-fast", "--exclude", E2E_PACKAGE])
                    .args(["--exclude", store::PACKAGE, "--exclude", store::POSTGRES_PACKAGE])
                    .args(workspace.locked()),
            ),
            Self::Store => store::run(workspace),
            Self::E2e => self.end_to_end(workspace),
            Self::Sdk => conformance::sdk(workspace),
            Self::Openapi => conformance::openapi(workspace),
            Self::Netns => self.netns(workspace),
            Self::Operator => self.operator(workspace),
            Self::Charts => self.charts(workspace),
            Self::Cluster => self.cluster(workspace),
            Self::Demo => self.demo(workspace),
            Self::Image => self.image(workspace),
        }
    }

    fn plain(self, command: &mut Command) -> Result<Counts> {
        Ok(Counts::step(process::run(&self.name(), command)?.success))
    }

    fn tests(self, command: &mut Command) -> Result<Counts> {
        let ended = process::run(&self.name(), command)?;
        Ok(ended.tests.of_test_run(ended.success))
    }

    /// The advisories check is left out: its database cannot be fetched from every network that builds this.
    fn deny(self, workspace: &Workspace) -> Result<Counts> {
        let deny = tools::CARGO_DENY.ensure()?;
        let mut command = Command::new(deny);
        command
            .current_dir(workspace.root())
            .args(workspace.locked())
            .args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
        self.plain(&mut command)
    }

    fn build(self, workspace: &Workspace) -> Result<bool> {
        let mut build = workspace.cargo();
        build.args(["build", "-p", "landbridge"]).args(workspace.locked());
        Ok(process::run(&format!("{} (build)", self.name()), &mut build)?.success)
    }

    fn end_to_end(self, workspace: &Workspace) -> Result<Counts> {
        for tool in tools::ensure(tools::SUITES)? {
            say(&format!(
                "skipped: needs {} (package {})",
                tool.command, tool.package
            ));
        }
        if !self.build(workspace)? {
            return Ok(Counts::step(false));
        }
        self.tests(
            workspace
                .cargo()
                .args([
                    "test",
                    "-p",
                    E2E_PACKAGE,
                    "--no-fail-fast",
                    "--lib",
                    "--test",
                    "e2e",
                ])
                .args(workspace.locked())
                .env(BINARY_VARIABLE, workspace.binary("debug")?),
        )
    }

    fn netns(self, workspace: &Workspace) -> Result<Counts> {
        for tool in tools::ensure(tools::NETNS)? {
            say(&format!("missing: {} (package {})", tool.command, tool.package));
        }
        let mut tests = workspace.cargo();
        tests
            .args(["test", "-p", E2E_PACKAGE, "--test", NETNS_TARGET])
            // Each has a world of its own, and half of the time it waits.
            .env("RUST_TEST_THREADS", "4")
            .args(workspace.locked());
        let Some(way) = netns::possible() else {
            say(
                "skipped: no network namespaces here; run as root, or allow unprivileged user namespaces (the sysctls \
                 user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)",
            );
            return if workspace.is_ci() {
                Ok(Counts::step(false))
            } else {
                self.skip(tests)
            };
        };
        if !self.build(workspace)? {
            return Ok(Counts::step(false));
        }
        if way == netns::Way::AsRootAlone {
            say(
                "without sidecars, whose users this machine does not allow: run as root, or add a line to /etc/subuid",
            );
        }
        self.tests(
            tests
                .args(way.options())
                .arg("--no-fail-fast")
                .args(way.left_out())
                .env(BINARY_VARIABLE, workspace.binary("debug")?),
        )
    }

    fn operator(self, workspace: &Workspace) -> Result<Counts> {
        for tool in tools::ensure(tools::CLUSTER)? {
            say(&format!("missing: {} (package {})", tool.command, tool.package));
        }
        match kube::programs(workspace)? {
            kube::Programs::Ready => {}
            kube::Programs::MissingTools if !workspace.is_ci() => {
                say("skipped: needs Go 1.26 or newer, or KUBEBUILDER_ASSETS (the line above says more)");
                return self.skip(self.kubernetes_tests(workspace));
            }
            kube::Programs::MissingTools | kube::Programs::Failed => return Ok(Counts::step(false)),
        }
        if !self.build(workspace)? {
            return Ok(Counts::step(false));
        }
        self.tests(
            self.kubernetes_tests(workspace)
                .arg("--no-fail-fast")
                .env(BINARY_VARIABLE, workspace.binary("debug")?),
        )
    }

    fn charts(self, workspace: &Workspace) -> Result<Counts> {
        let mut tests = workspace.cargo();
        tests
            .args(["test", "-p", E2E_PACKAGE, "--test", CHARTS_TARGET])
            .args(workspace.locked());
        // The second builds nothing unless the first has found what it builds with.
        for built in [kube::chart_tools, kube::programs] {
            match built(workspace)? {
                kube::Programs::Ready => {}
                kube::Programs::MissingTools if !workspace.is_ci() => {
                    say("skipped: needs Go 1.26 or newer (the line above says more)");
                    return self.skip(tests);
                }
                kube::Programs::MissingTools | kube::Programs::Failed => return Ok(Counts::step(false)),
            }
        }
        if !self.build(workspace)? {
            return Ok(Counts::step(false));
        }
        let binary = workspace.binary("debug")?;
        self.tests(tests.arg("--no-fail-fast").env(BINARY_VARIABLE, binary))
    }

    /// The tests that cannot run are counted by name, so that nobody takes their absence for a success.
    fn skip(self, mut list: Command) -> Result<Counts> {
        list.args(["--", "--list"]);
        let Some(lines) = process::capture(&self.name(), &mut list)? else {
            return Ok(Counts::step(false));
        };
        Ok(Counts {
            ignored: kube::listed(&lines),
            ..Counts::default()
        })
    }

    fn kubernetes_tests(self, workspace: &Workspace) -> Command {
        let mut command = workspace.cargo();
        command
            .args(["test", "-p", E2E_PACKAGE, "--test", KUBERNETES_TARGET])
            // They mostly wait: for leases, for watches, for a store that is asked again after a minute.
            .env("RUST_TEST_THREADS", "4")
            .args(workspace.locked());
        command
    }

    fn cluster(self, workspace: &Workspace) -> Result<Counts> {
        for tool in tools::ensure(tools::NODE)? {
            say(&format!("missing: {} (package {})", tool.command, tool.package));
        }
        match cluster::possible(workspace)? {
            cluster::Possible::Yes => {}
            cluster::Possible::NotHere if !workspace.is_ci() => {
                say("skipped: this machine cannot have a node (the lines above say why)");
                return self.skip(self.cluster_tests(workspace));
            }
            cluster::Possible::NotHere | cluster::Possible::Failed => return Ok(Counts::step(false)),
        }
        if !self.build(workspace)? {
            return Ok(Counts::step(false));
        }
        // Compiled first, or the others would wait for the first one's compiler.
        let mut compile = self.cluster_tests(workspace);
        if !process::run(&self.name(), compile.arg("--no-run"))?.success {
            return Ok(Counts::step(false));
        }
        let binary = workspace.binary("debug")?;
        let groups = cluster::groups().map(|filters| {
            let mut tests = self.cluster_tests(workspace);
            tests.env(BINARY_VARIABLE, &binary);
            tests
                .args(["--no-fail-fast", "--", "--show-output"])
                .args(filters);
            tests
        });
        cluster::side_by_side(groups)
    }

    fn cluster_tests(self, workspace: &Workspace) -> Command {
        let mut command = workspace.cargo();
        command
            .args(["test", "-p", E2E_PACKAGE, "--test", CLUSTER_TARGET])
            // They share an installation, and some take parts of it away.
            .env("RUST_TEST_THREADS", "1")
            .args(workspace.locked());
        command
    }

    fn image(self, workspace: &Workspace) -> Result<Counts> {
        if !self.build(workspace)? {
            return Ok(Counts::step(false));
        }
        image::check(workspace, &workspace.binary("debug")?)
    }

    fn demo(self, workspace: &Workspace) -> Result<Counts> {
        if !self.build(workspace)? {
            return Ok(Counts::step(false));
        }
        let mut demo = Command::new(workspace.binary("debug")?);
        demo.current_dir(workspace.root()).args(["demo", "--check"]);
        let ended = process::run(&self.name(), &mut demo)?;
        // The promise of the command is its last line; an exit code alone could come from anything.
        let said_so = ended.last_line.starts_with("demo: ") && ended.last_line.ends_with(" ok");
        if ended.success && !said_so {
            say("error: `landbridge demo --check` did not end with `demo: N calls, N ok`");
        }
        Ok(Counts::step(ended.success && said_so))
    }
}

fn verdict(violations: &[String]) -> Counts {
    for violation in violations {
        say(&format!("error: {violation}"));
    }
    Counts::step(violations.is_empty())
}
