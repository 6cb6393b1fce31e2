//! Pages of commands, run command by command: what a newcomer types must work, and answer what the page says.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::process::binary;
use crate::{PATIENCE, eventually, free_port};

/// One block of commands and what README shows as its answer.
struct Step {
    mode: Mode,
    commands: String,
    answer: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Once,
    Retry,
    Background,
}

/// Blocks marked `<!-- MARKER -->`, each with the plain block that follows it before the next marker.
fn steps(page: &str, marker: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for section in page.split(&format!("<!-- {marker}")).skip(1) {
        let (marker, text) = section.split_once("-->").expect("a closed marker");
        let mode = match marker.trim_matches([':', ' ']) {
            "" => Mode::Once,
            "retry" => Mode::Retry,
            "background" => Mode::Background,
            other => panic!("unknown mode {other}"),
        };
        let mut blocks = text.split("```");
        let commands = blocks
            .nth(1)
            .and_then(|block| block.strip_prefix("sh\n"))
            .expect("a block of commands");
        let answer = blocks
            .nth(1)
            .filter(|block| block.starts_with('\n'))
            .unwrap_or_default();
        let answer = answer
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        steps.push(Step {
            mode,
            commands: commands.to_owned(),
            answer,
        });
    }
    steps
}

/// The machine of the newcomer: a folder, and ports that nobody else uses.
struct Machine {
    folder: TempDir,
    enter: Vec<String>,
    ports: HashMap<&'static str, String>,
    environment: Vec<(String, String)>,
    background: Vec<Child>,
}

impl Machine {
    fn new(names: &[&'static str], environment: &[(&str, &str)]) -> Self {
        // One of ours that has one of theirs in it would be replaced once more.
        let free = || std::iter::repeat_with(free_port).map(|port| port.to_string());
        let ours = || free().find(|port| !names.iter().any(|name| port.contains(name)));
        let ports = names
            .iter()
            .map(|name| (*name, ours().expect("a free port")))
            .collect();
        let folder = TempDir::new().expect("a folder");
        // Pages speak of the root of the repository; everything else that they write stays in the folder.
        for theirs in ["examples", "charts"] {
            let ours = crate::control_plane::repository().join(theirs);
            std::os::unix::fs::symlink(ours, folder.path().join(theirs)).expect("a link");
        }
        let mut machine = Self {
            folder,
            enter: Vec::new(),
            ports,
            environment: Vec::new(),
            background: Vec::new(),
        };
        machine.environment = environment
            .iter()
            // A path may hold any number.
            .map(|(name, value)| {
                let value = if value.starts_with("127.0.0.1:") {
                    machine.here(value)
                } else {
                    (*value).to_owned()
                };
                ((*name).to_owned(), value)
            })
            .collect();
        machine
    }

    /// The text with this machine's ports instead of README's.
    fn here(&self, text: &str) -> String {
        self.ports
            .iter()
            .fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    fn shell(&self, commands: &str) -> Command {
        let mut words = self.enter.iter().map(String::as_str).chain(["bash"]);
        let mut command = Command::new(words.next().unwrap_or("bash"));
        command.args(words);
        let given = self.environment.iter().find(|(name, _)| name == "PATH");
        let path = given.map_or_else(
            || std::env::var("PATH").unwrap_or_default(),
            |(_, path)| path.clone(),
        );
        let bin: PathBuf = binary().parent().map(Path::to_owned).expect("a folder");
        // The binary is there already, and newer than any that a second build would find.
        let commands = commands
            .lines()
            .filter(|line| !line.starts_with("cargo build") && !line.starts_with("export PATH"));
        let commands = commands.collect::<Vec<_>>().join("\n");
        command
            .args(["-e", "-o", "pipefail", "-c", &self.here(&commands)])
            .current_dir(self.folder.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("PATH", format!("{}:{path}", bin.display()))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn output(&self, commands: &str) -> Result<String, String> {
        let output = timeout(PATIENCE, self.shell(commands).output())
            .await
            .expect("it ends")
            .expect("bash starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(format!(
                "{}: {text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ))
        }
    }
}

/// Runs the commands of `page` that are marked `tour`. `ports` are those it names, which are replaced by free ones, also in
/// the values of `environment`.
pub async fn take(page: &str, ports: &[&'static str], environment: &[(&str, &str)]) {
    let machine = Machine::new(ports, environment);
    let steps = steps(page, "tour");
    assert!(steps.len() >= 10, "the page has a tour");
    run(machine, steps).await;
}

/// Runs the commands of `page` that carry `marker`, each by `enter` and a shell: in another network namespace, say.
pub async fn take_in(enter: &[&str], page: &str, marker: &str, environment: &[(&str, &str)]) {
    let mut machine = Machine::new(&[], environment);
    machine.enter = enter.iter().map(|word| (*word).to_owned()).collect();
    let steps = steps(page, marker);
    assert!(!steps.is_empty(), "the page has no commands marked {marker}");
    run(machine, steps).await;
}

async fn run(mut machine: Machine, steps: Vec<Step>) {
    for step in steps {
        let text = &step.commands;
        match step.mode {
            Mode::Background => {
                let log = std::fs::File::create(machine.folder.path().join("log")).expect("a log");
                let child = machine
                    .shell(&format!("exec {text}"))
                    .stdout(Stdio::null())
                    .stderr(log)
                    .spawn();
                machine.background.push(child.expect("bash starts"));
            }
            Mode::Once | Mode::Retry if step.answer.is_empty() && step.mode == Mode::Once => {
                machine
                    .output(text)
                    .await
                    .unwrap_or_else(|error| panic!("{text}\n{error}"));
            }
            Mode::Once | Mode::Retry => {
                eventually(text, async || {
                    let output = machine.output(text).await?;
                    let missing = step
                        .answer
                        .iter()
                        .map(|line| machine.here(line))
                        .find(|line| !output.contains(line));
                    missing.map_or(Ok(()), |line| Err(format!("'{line}' is missing in {output}")))
                })
                .await;
            }
        }
    }
}
