//! Network namespaces. A test starts itself again in a new one; a pod is another one, joined by a pair of devices.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Set in the process that is in its own namespace.
const INSIDE: &str = "LANDBRIDGE_TEST_NAMESPACE";

/// What a namespace can be made with: as root, and where users may make namespaces of their own.
const WAYS: [&[&str]; 2] = [&["--net"], &["--map-root-user", "--user", "--net"]];

/// Runs `test` in a process whose network namespace is new. `name` is the test's full name.
pub(crate) fn alone<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        sh("ip link set lo up");
        // What the machine happens to have must not decide about the rules.
        bridge_filter(false);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(test());
    }
    // A namespace without the right to write rules, or without the programs that judge them, is of no use.
    let possible = |way: &&&[&str]| {
        let tried = Command::new("unshare")
            .args(**way)
            .args(["sh", "-ec", "ip link set lo up; nft list ruleset"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    };
    let Some(way) = WAYS.iter().find(possible) else {
        let skipped = format!(
            "{name}: skipped, it takes ip, nft and network namespaces (be root, or allow user namespaces)\n"
        );
        let _ = std::io::stderr().write_all(skipped.as_bytes());
        return;
    };
    let output = Command::new("unshare")
        .args(*way)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{error}");
    assert!(said.contains("1 passed"), "no test has the name {name}: {said}");
}

/// Whether packets in bridges pass the packet filter; `false` if this kernel cannot do that at all.
pub(crate) fn bridge_filter(on: bool) -> bool {
    let write = |kind| {
        let file = format!("/proc/sys/net/bridge/bridge-nf-call-{kind}");
        std::fs::write(file, if on { "1" } else { "0" }).is_ok()
    };
    ["iptables", "ip6tables"].map(write) == [true, true]
}

/// Runs a script in this process's namespace; what it prints.
pub(crate) fn sh(script: &str) -> String {
    run(Command::new("sh").args(["-ec", script]))
}

/// Runs a program with an input; what it prints.
pub(crate) fn with_input(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A namespace beside this one.
pub(crate) struct Pod {
    holder: Child,
    link: File,
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Pod {
    /// Makes one, with loopback up and nothing else.
    pub(crate) fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // `cat` answers only after `unshare` has become it.
        holder.stdin.as_mut().unwrap().write_all(b"!").unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let link = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        let pod = Self { holder, link };
        pod.sh("ip link set lo up");
        pod
    }

    /// Its process, for `ip link set ... netns`.
    pub(crate) fn id(&self) -> u32 {
        self.holder.id()
    }

    /// Runs a script inside; what it prints.
    pub(crate) fn sh(&self, script: &str) -> String {
        let target = self.id().to_string();
        run(Command::new("nsenter").args(["--net", "--target", &target, "sh", "-ec", script]))
    }

    /// Runs `task` on a thread inside; its sockets stay there when it has ended.
    pub(crate) async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        let link = self.link.try_clone().unwrap();
        let worker = tokio::task::spawn_blocking(move || {
            std::thread::spawn(move || {
                move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(task)
            })
            .join()
        });
        match worker.await.unwrap() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
