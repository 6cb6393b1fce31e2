//! `landbridge check` against a real API server: nothing installed, an installation, each of the things that go wrong,
//! and the guard before an uninstallation.

mod before;
mod installed;
mod site;
mod uninstall;

use std::path::Path;

use landbridge_tests::eventually;
use landbridge_tests::process::run;
use serde_json::Value;

/// How a check has ended.
#[derive(Debug)]
struct Checked {
    code: Option<i32>,
    checks: Vec<Value>,
}

impl Checked {
    /// `landbridge check -o json OPTIONS` as the user of `kubeconfig`.
    async fn run(kubeconfig: &Path, options: &[&str]) -> Self {
        let kubeconfig = kubeconfig.to_str().expect("a path");
        let ended = run(&[&["check", "--kubeconfig", kubeconfig, "-o", "json"], options].concat()).await;
        let report: Value =
            serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        let success = ended.code == Some(0);
        assert_eq!(report["success"], success, "{ended:?}");
        let checks = report["checks"].as_array().expect("checks").clone();
        for check in &checks {
            let fields: Vec<&String> = check.as_object().expect("an object").keys().collect();
            assert_eq!(fields, ["category", "name", "result", "message", "remedy"]);
        }
        Self {
            code: ended.code,
            checks,
        }
    }

    /// Names of the checks with this result.
    fn with(&self, result: &str) -> Vec<&str> {
        let found = self.checks.iter().filter(|check| check["result"] == result);
        found.filter_map(|check| check["name"].as_str()).collect()
    }

    /// There is such a line, its message and its remedy say so.
    fn says(&self, result: &str, name: &str, message: &str, remedy: &str) -> Result<(), String> {
        let has = |check: &Value, field: &str, part: &str| {
            check[field].as_str().is_some_and(|text| text.contains(part))
        };
        let found = self.checks.iter().any(|check| {
            check["name"] == name
                && check["result"] == result
                && has(check, "message", message)
                && has(check, "remedy", remedy)
        });
        let failed = !self.with("failed").is_empty();
        if found && self.code == Some(i32::from(failed)) {
            Ok(())
        } else {
            Err(format!("no {result} {name} {message:?} {remedy:?} in {self:#?}"))
        }
    }

    fn must_say(&self, result: &str, name: &str, message: &str, remedy: &str) {
        self.says(result, name, message, remedy)
            .unwrap_or_else(|why| panic!("{why}"));
    }
}

/// Checks until it says so: what was changed has to be seen by the operator first.
async fn until(
    kubeconfig: &Path,
    options: &[&str],
    (result, name, message, remedy): (&str, &str, &str, &str),
) {
    eventually(&format!("{name} is {result}"), async || {
        let checked = Checked::run(kubeconfig, options).await;
        checked.says(result, name, message, remedy)
    })
    .await;
}
