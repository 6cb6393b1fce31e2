//! What is put into a pod, as a JSON patch (RFC 6902): two containers before all others, two volumes, one annotation.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

use super::options::SidecarOptions;
use super::{
    INJECTED, PROXY_CONTAINER, REDIRECT_CONTAINER, SKIPPED, STATE_VOLUME, TOKEN_AUDIENCE, TOKEN_VOLUME,
};

/// Folder of the token that says who the pod is; the same as in the proxies' own pods.
const TOKEN_FOLDER: &str = "/var/run/secrets/landbridge";

/// Where the sidecar keeps what it knows, so that a restarted one serves while the operator is away.
const STATE_FOLDER: &str = "/var/lib/landbridge";

/// Routes of one namespace, about 1 KB each, twice while a file is replaced.
const STATE_SIZE: &str = "32Mi";

/// Seconds for the sidecar to prove the redirection and to know its destinations. The application waits so long; a
/// cold node pulls no image in this time, that comes before.
const START: u32 = 120;

/// The patch that puts the sidecar in. `authority` is what the operator's certificate is checked against, PEM.
pub(super) fn inject(object: &DynamicObject, options: &SidecarOptions, authority: &str) -> Patch {
    let mut patch = Vec::new();
    // A pod with resources of its own as a whole shares these: the API server refuses containers that ask for more.
    let shared = object
        .data
        .pointer("/spec/resources")
        .is_some_and(Value::is_object);
    let resources = (!shared).then(|| {
        let [requests, limits] = options.resources.shown();
        json!({ "requests": requests, "limits": limits })
    });
    let containers = [
        redirect(options, authority, resources.as_ref()),
        proxy(options, authority, resources.as_ref()),
    ];
    insert(&mut patch, object, "initContainers", At::Start, containers);
    let volumes = [
        json!({"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": {
            "audience": TOKEN_AUDIENCE, "expirationSeconds": 3600, "path": "token"}}]}}),
        // In memory: a volume on the node's disk would keep cluster autoscalers from emptying the node.
        json!({"name": STATE_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": STATE_SIZE}}),
    ];
    insert(&mut patch, object, "volumes", At::End, volumes);
    if let Some(name) = &options.pull_secret
        && !has_pull_secret(object, name)
    {
        let secret = [json!({ "name": name })];
        insert(&mut patch, object, "imagePullSecrets", At::End, secret);
    }
    if annotation(object, SKIPPED).is_some() {
        let path = PointerBuf::from_tokens(["metadata", "annotations", SKIPPED]);
        patch.push(PatchOperation::Remove(RemoveOperation { path }));
    }
    let (image, installation) = (&options.image, &options.installation);
    let note = json!({ "image": image, "version": env!("CARGO_PKG_VERSION"), "installation": installation });
    annotate(&mut patch, object, INJECTED, note.to_string());
    Patch(patch)
}

/// The patch that says why there is no sidecar; none when the pod says so already.
pub(super) fn skip(object: &DynamicObject, reason: &str, installation: &str) -> Option<Patch> {
    let mut patch = Vec::new();
    let note = json!({ "reason": reason, "installation": installation }).to_string();
    if annotation(object, SKIPPED) != Some(note.as_str()) {
        annotate(&mut patch, object, SKIPPED, note);
    }
    (!patch.is_empty()).then_some(Patch(patch))
}

enum At {
    Start,
    End,
}

fn insert<const N: usize>(
    patch: &mut Vec<PatchOperation>,
    object: &DynamicObject,
    list: &str,
    at: At,
    items: [Value; N],
) {
    let there = object.data.pointer(&format!("/spec/{list}"));
    if !there.is_some_and(Value::is_array) {
        return add(patch, &["spec", list], Value::from(items.to_vec()));
    }
    for (index, item) in items.into_iter().enumerate() {
        match at {
            At::Start => add(patch, &["spec", list, &index.to_string()], item),
            At::End => add(patch, &["spec", list, "-"], item),
        }
    }
}

fn annotate(patch: &mut Vec<PatchOperation>, object: &DynamicObject, key: &str, value: String) {
    if object.metadata.annotations.is_some() {
        return add(patch, &["metadata", "annotations", key], Value::from(value));
    }
    let annotations: Map<String, Value> = [(key.to_owned(), Value::from(value))].into_iter().collect();
    add(patch, &["metadata", "annotations"], Value::from(annotations));
}

fn add(patch: &mut Vec<PatchOperation>, path: &[&str], value: Value) {
    let path = PointerBuf::from_tokens(path.iter().copied());
    patch.push(PatchOperation::Add(AddOperation { path, value }));
}

fn annotation<'a>(object: &'a DynamicObject, key: &str) -> Option<&'a str> {
    let annotations = object.metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

fn has_pull_secret(object: &DynamicObject, name: &str) -> bool {
    let secrets = object.data.pointer("/spec/imagePullSecrets");
    let mut secrets = secrets.and_then(Value::as_array).into_iter().flatten();
    secrets.any(|secret| secret["name"] == name)
}

/// Writes the rules, then ends. The one container with a right of its own, and with no other; as root, because a
/// capability of another uid would not survive the start of the program.
fn redirect(options: &SidecarOptions, authority: &str, resources: Option<&Value>) -> Value {
    let mut container = json!({
        "name": REDIRECT_CONTAINER,
        "image": options.image,
        "imagePullPolicy": options.pull_policy,
        "args": [
            "redirect", "apply", "--mode", "sidecar",
            "--proxy-uid", options.uid.to_string(),
            "--operator", options.operator,
            "--token-file", format!("{TOKEN_FOLDER}/token"),
        ],
        "env": env(options, authority),
        "securityContext": {
            "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": false,
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": true}],
    });
    if let Some(resources) = resources {
        container["resources"] = resources.clone();
    }
    container
}

/// Serves the application's calls as long as it lives: a container that runs first and does not end, so that the
/// others start only when it is ready, and so that a Job ends without it.
///
/// No readiness probe: that of the pod says whether the application can be called, which does not depend on whom it
/// can call.
fn proxy(options: &SidecarOptions, authority: &str, resources: Option<&Value>) -> Value {
    let port = options.admin.port();
    let mut container = json!({
        "name": PROXY_CONTAINER,
        "image": options.image,
        "imagePullPolicy": options.pull_policy,
        "restartPolicy": "Always",
        "args": [
            "proxy", "--mode", "sidecar",
            "--operator", options.operator,
            "--gateway", options.gateway,
            "--token-file", format!("{TOKEN_FOLDER}/token"),
            "--state-file", format!("{STATE_FOLDER}/state.json"),
            "--admin-listen", options.admin.to_string(),
            // It is stopped after the containers that it serves: there is nobody to tell.
            "--drain-delay", "0",
            "--drain", options.drain.to_string(),
        ],
        "env": env(options, authority),
        "ports": [{"name": "lb-admin", "containerPort": port, "protocol": "TCP"}],
        "startupProbe": {
            "httpGet": {"path": "/readyz", "port": port},
            "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": START,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": port},
            "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6,
        },
        "securityContext": {
            "runAsUser": options.uid, "runAsGroup": options.uid, "runAsNonRoot": true,
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        // The remedy of a proof that failed is the last line of the log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": true},
            {"name": STATE_VOLUME, "mountPath": STATE_FOLDER},
        ],
    });
    if let Some(resources) = resources {
        container["resources"] = resources.clone();
    }
    container
}

/// The authority is here because a ConfigMap is of one namespace. About 1 KB; two while it is being replaced.
fn env(options: &SidecarOptions, authority: &str) -> Value {
    json!([
        {"name": "LANDBRIDGE_OPERATOR_CA_PEM", "value": authority},
        {"name": "LANDBRIDGE_LOG", "value": options.log},
        {"name": "LANDBRIDGE_LOG_FORMAT", "value": options.log_format},
    ])
}

#[cfg(test)]
mod tests;
