//! Network namespaces of the tests' own: no cluster, and no root where user namespaces are allowed.
//!
//! A namespace is a thread that has entered it, with a runtime: sockets that its tasks open, and processes that they start,
//! are in that namespace. Nothing but file descriptors of this process holds it, so that it is gone when the process is,
//! however that ends; processes are started with a signal that kills them together with the thread (`prctl(2)`,
//! `PR_SET_PDEATHSIG`).

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::process::Process;

/// What a process is started with that must not outlive the test.
const TIED: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];

/// A network namespace. Cloning gives the same one; it ends with the last of them and the processes in it.
#[derive(Clone)]
pub struct Netns {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    link: File,
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

impl Netns {
    /// Makes one, with loopback up and nothing else. `name` is for messages.
    pub fn new(name: &str) -> Self {
        let link = new_namespace();
        let own = link.try_clone().expect("a file descriptor");
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name(format!("netns-{name}"))
            .spawn(move || {
                move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("the namespace can be entered");
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                tell.send(runtime.handle().clone()).expect("the maker waits");
                let _ = runtime.block_on(stopped);
                // A connection or two may still be on its way to its end; nobody waits for it.
                runtime.shutdown_background();
            })
            .expect("a thread");
        let runtime = told.recv().expect("the thread is in the namespace");
        let this = Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                link,
                runtime,
                _stop: stop,
            }),
        };
        this.sh("ip link set lo up");
        this
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A path that `ip ... netns` understands.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.inner.link.as_raw_fd())
    }

    /// Runs `task` inside: its sockets are there.
    pub async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        match self.inner.runtime.spawn(task).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Lets `task` run inside until it ends or the namespace does.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.inner.runtime.spawn(task));
    }

    /// Starts `landbridge <arguments>` inside.
    pub async fn start(&self, arguments: &[String], log: &Path) -> Process {
        self.start_as(&[], arguments, log).await
    }

    /// The same with options of setpriv(1), for another user or other capabilities.
    pub async fn start_as(&self, privileges: &[&str], arguments: &[String], log: &Path) -> Process {
        let under: Vec<String> = TIED
            .iter()
            .chain(privileges)
            .map(|&word| word.to_owned())
            .collect();
        let (arguments, log) = (arguments.to_vec(), log.to_owned());
        self.run(async move { Process::start_under(&under, &arguments, &log) })
            .await
    }

    /// Runs a program to its end, with `input`.
    pub fn output(&self, program: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", self.path()))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter (package util-linux)");
        let mut stdin = child.stdin.take().expect("its input");
        // What does not read its input may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a shell script; panics unless all of it succeeds.
    pub fn sh(&self, script: &str) -> String {
        let output = self.output("sh", &["-e"], script);
        assert_eq!(
            output.code,
            Some(0),
            "in {}: {script}\n{output:?}",
            self.inner.name
        );
        output.stdout
    }

    /// Loads nftables rules.
    pub fn nft(&self, rules: &str) {
        let output = self.output("nft", &["-f", "-"], rules);
        assert_eq!(
            output.code,
            Some(0),
            "in {}: {rules}\n{output:?}",
            self.inner.name
        );
    }
}

/// What a program said.
#[derive(Debug)]
pub struct Output {
    /// Exit code, or `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A new namespace, held by what is returned. A program makes it, because this process has threads that must not move.
fn new_namespace() -> File {
    let mut maker = Command::new("unshare")
        .args(["--net", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare (package util-linux)");
    let mut said = [0; 1];
    maker.stdin.as_mut().expect("its input").write_all(b"!").ok();
    // `cat` answers only after `unshare` has become it.
    let there = maker.stdout.as_mut().expect("its output").read_exact(&mut said);
    assert!(
        there.is_ok(),
        "a network namespace cannot be made here; run as root, or with `cargo xtask test --only netns`"
    );
    let link = File::open(format!("/proc/{}/ns/net", maker.id())).expect("procfs");
    drop(maker.stdin.take());
    maker.wait().expect("it ends");
    link
}
