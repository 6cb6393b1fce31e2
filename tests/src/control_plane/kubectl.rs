//! Calls of `kubectl`, the client that users have.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::{ControlPlane, Ended};
use crate::PATIENCE;

impl ControlPlane {
    /// Folder of `kubectl`, for a shell's `PATH`.
    pub fn tools(&self) -> std::path::PathBuf {
        let kubectl = self.inner.running.kubectl(&self.kubeconfig());
        let program = Path::new(kubectl.get_program());
        program.parent().expect("a folder").to_owned()
    }

    /// `kubectl ARGUMENTS` as a user who may do everything.
    pub async fn kubectl(&self, arguments: &[&str]) -> Ended {
        self.kubectl_as(&self.kubeconfig(), arguments, "").await
    }

    /// The same, with `input` on standard input (`apply -f -`).
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Ended {
        self.kubectl_as(&self.kubeconfig(), arguments, input).await
    }

    /// The same as the user of `kubeconfig`.
    pub async fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str], input: &str) -> Ended {
        let mut command = Command::from(self.inner.running.kubectl(kubeconfig));
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let run = async {
            // One that needs no input may have ended already.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await.expect("its output")
        };
        let said = format!("kubectl {}", arguments.join(" "));
        let output = timeout(PATIENCE * 2, run)
            .await
            .unwrap_or_else(|_| panic!("{said} does not end"));
        Ended::new(said, &output)
    }
}
