//! The charts as users run them: with Helm, built from a pinned module.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use landbridge_control_plane::{Tool, tool};
use serde_json::Value;

use crate::control_plane::repository;

/// The folder of a chart, as in `landbridge`.
pub fn chart(name: &str) -> PathBuf {
    repository().join("charts").join(name)
}

/// Helm itself. The first caller builds it where that has not been done (a minute and a half cold).
///
/// Panics with what is missing.
pub fn helm_program() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| built(Tool::Helm))
}

/// The schema check.
///
/// Panics with what is missing.
pub fn kubeconform_program() -> &'static Path {
    static KUBECONFORM: OnceLock<PathBuf> = OnceLock::new();
    KUBECONFORM.get_or_init(|| built(Tool::Kubeconform))
}

fn built(which: Tool) -> PathBuf {
    tool(which, &mut |line: &str| {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "charts: {line}");
    })
    .unwrap_or_else(|error| panic!("no {which:?}: {error:#}"))
}

/// `helm ARGUMENTS`: its standard output, or everything it said when it failed. Without `KUBECONFIG` among `variables` it
/// finds no cluster, whatever the caller's environment has.
///
/// # Errors
/// Its standard error and standard output.
pub fn helm(arguments: &[&str], variables: &[(&str, &Path)]) -> Result<String, String> {
    let mut command = Command::new(helm_program());
    command
        .args(arguments)
        .env("KUBECONFIG", "/nonexistent/kubeconfig")
        .envs(["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|name| (name, own_folder())))
        .envs(variables.iter().copied());
    let ended = command
        .output()
        .unwrap_or_else(|error| panic!("helm does not start: {error}"));
    result(&ended)
}

/// Nothing of the caller's own settings of Helm, such as plug-ins, plays a part.
fn own_folder() -> PathBuf {
    std::env::temp_dir().join("landbridge-helm")
}

fn result(ended: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ended.status.success() {
        return Ok(text(&ended.stdout));
    }
    Err(text(&ended.stderr) + &text(&ended.stdout))
}

/// What `helm template` makes of a chart: the manifests in order, without empty ones.
///
/// # Errors
/// What Helm said.
pub fn template(
    chart_folder: &Path,
    release: &str,
    namespace: &str,
    options: &[&str],
) -> Result<Vec<Value>, String> {
    let folder = chart_folder.to_str().expect("a path");
    let arguments = [&["template", release, folder, "--namespace", namespace], options].concat();
    let text = helm(&arguments, &[])?;
    manifests(&text)
}

/// The documents of a YAML text that are objects.
///
/// # Errors
/// The text is no YAML.
pub fn manifests(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| format!("no YAML: {error}\n{text}"))?;
    Ok(documents.into_iter().filter(Value::is_object).collect())
}

/// The values files of a folder below `tests/charts`, sorted.
pub fn values_files(folder: &str) -> Vec<PathBuf> {
    let folder = repository().join("tests/charts").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no values files", folder.display());
    files
}

/// The pod specifications in manifests, with the name of what has them.
pub fn pod_specs(manifests: &[Value]) -> Vec<(String, &Value)> {
    manifests
        .iter()
        .filter_map(|manifest| {
            let spec = match manifest["kind"].as_str()? {
                "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => &manifest["spec"]["template"]["spec"],
                "CronJob" => &manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"],
                "Pod" => &manifest["spec"],
                _ => return None,
            };
            Some((identity(manifest), spec))
        })
        .collect()
}

/// Kind, namespace and name.
pub fn identity(manifest: &Value) -> String {
    let metadata = &manifest["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{} {}/{}",
        text(&manifest["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"])
    )
}

/// What Pod Security "restricted" asks of a pod, and what this project asks beside it. One sentence for each violation.
pub fn violations(owner: &str, pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{owner}: {what}"));
        }
    };
    let context = &pod["securityContext"];
    must(context["runAsNonRoot"] == true, "pod runAsNonRoot");
    must(context["runAsUser"] == 65532, "pod runAsUser 65532");
    must(
        context["seccompProfile"]["type"] == "RuntimeDefault",
        "pod seccompProfile",
    );
    must(
        pod["automountServiceAccountToken"].is_boolean(),
        "says whether it has a token of the API server",
    );
    must(
        pod["serviceAccountName"].is_string(),
        "has a service account of its own",
    );
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        must(pod[field].is_null(), "nothing of the host");
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        must(volume["hostPath"].is_null(), "no hostPath");
    }
    let containers = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|kind| pod[kind].as_array().into_iter().flatten());
    for container in containers {
        let context = &container["securityContext"];
        must(
            context["allowPrivilegeEscalation"] == false,
            "allowPrivilegeEscalation",
        );
        must(
            context["readOnlyRootFilesystem"] == true,
            "readOnlyRootFilesystem",
        );
        must(
            context["capabilities"]["drop"] == serde_json::json!(["ALL"]),
            "drops ALL",
        );
        must(context["privileged"].is_null(), "not privileged");
        must(
            container["resources"]["requests"].is_object(),
            "requests resources",
        );
        must(
            !container["resources"]["limits"]["memory"].is_null(),
            "limits memory",
        );
    }
    found
}
