//! Whether a pod gets the sidecar: pure, from the pod, its namespace's labels and the options.
//!
//! A pod is never refused. What cannot have the sidecar is left as it is, with a reason: its calls go to the gateways,
//! which serve the same destinations.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::options::SidecarOptions;
use super::overrides;
use super::{INJECT, PROXY_CONTAINER, REDIRECT_CONTAINER, STATE_VOLUME, TOKEN_VOLUME};

/// Where Pod Security says what a namespace's pods may be.
pub const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// On the API server's picture of a pod that a kubelet runs from a file. It has to stay as the file says.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What the labels of a namespace say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceLabels {
    /// Whether it has opted in.
    pub opted_in: bool,
    /// Level of Pod Security that is enforced, if one is named.
    pub enforce: Option<String>,
}

/// What is known when a pod is created.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Labels of its namespace; none while they are not known.
    pub namespace: Option<&'a NamespaceLabels>,
    /// What would be put in.
    pub options: &'a SidecarOptions,
    /// Whether the authority of the operator's certificate is known.
    pub authority: bool,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, and nothing is said.
    Unchanged(Unchanged),
    /// Nothing, although it was asked for; the reason.
    Skipped(String),
    /// The sidecar is put in, with these options, and with these warnings.
    Inject(Box<SidecarOptions>, Vec<String>),
}

/// Why nothing is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchanged {
    /// The pod says no.
    OptedOut,
    /// It has the sidecar.
    Injected,
    /// The picture of a pod that a kubelet runs from a file.
    Mirror,
    /// Neither the pod nor its namespace wants it.
    NotOptedIn,
}

/// What the pod itself says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    None,
    /// With the sidecar.
    Yes,
    /// Without.
    No,
    /// Something else.
    Unclear(String),
}

/// What a pod's label and annotation say: no counts more than anything, then what is not understood.
pub fn wish(pod: &Pod) -> Wish {
    let label = pod.metadata.labels.as_ref().and_then(|all| all.get(INJECT));
    let annotation = pod.metadata.annotations.as_ref().and_then(|all| all.get(INJECT));
    let mut wish = Wish::None;
    for value in [label, annotation].into_iter().flatten() {
        match value.as_str() {
            "false" | "disabled" => return Wish::No,
            "true" | "enabled" if wish == Wish::None => wish = Wish::Yes,
            "true" | "enabled" => {}
            other => wish = Wish::Unclear(other.chars().take(40).collect()),
        }
    }
    wish
}

/// Decides.
pub fn decide(asked: &Asked<'_>) -> Decision {
    let pod = asked.pod;
    let wish = wish(pod);
    if wish == Wish::No {
        return Decision::Unchanged(Unchanged::OptedOut);
    }
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    if containers(spec).any(|one| [PROXY_CONTAINER, REDIRECT_CONTAINER].contains(&one.name.as_str())) {
        return Decision::Unchanged(Unchanged::Injected);
    }
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.contains_key(MIRROR)) {
        return Decision::Unchanged(Unchanged::Mirror);
    }
    if let Wish::Unclear(value) = wish {
        return Decision::Skipped(format!("{INJECT} is \"{value}\": write \"true\" or \"false\""));
    }
    let opted_in = wish == Wish::Yes || asked.namespace.is_some_and(|labels| labels.opted_in);
    // The API server asks about namespaces that have opted in: one that is not known yet may well have.
    if !opted_in && asked.namespace.is_some() {
        return Decision::Unchanged(Unchanged::NotOptedIn);
    }
    if let Some(reason) = obstacle(asked, spec) {
        return Decision::Skipped(reason);
    }
    let (options, warnings) = match overrides::apply(asked.options, annotations) {
        Ok(found) => found,
        Err(reason) => return Decision::Skipped(reason),
    };
    match same_uid(spec, options.uid) {
        Some(reason) => Decision::Skipped(reason),
        None => Decision::Inject(Box::new(options), warnings),
    }
}

/// Whether pods with `NET_ADMIN` are refused where this Pod Security level is enforced.
pub fn forbids_net_admin(level: &str) -> bool {
    matches!(level, "baseline" | "restricted")
}

/// Every container, those that run first included.
fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// Why this pod cannot have a sidecar, the first reason in the order of what people have to know first.
fn obstacle(asked: &Asked<'_>, spec: &PodSpec) -> Option<String> {
    if spec.host_network == Some(true) {
        return Some(
            "it uses the host's network, whose connections belong to the node: remove hostNetwork".to_owned(),
        );
    }
    if is_windows(spec) {
        return Some("it runs on Windows, where connections cannot be redirected".to_owned());
    }
    let Some(labels) = asked.namespace else {
        return Some("the labels of its namespace are not known: create it again".to_owned());
    };
    let level = labels.enforce.as_ref().unwrap_or(&asked.options.pod_security);
    if forbids_net_admin(level) {
        return Some(format!(
            "its namespace enforces Pod Security \"{level}\", which forbids the NET_ADMIN that redirection takes"
        ));
    }
    if !asked.authority {
        return Some("the operator has no certificate yet: create it again".to_owned());
    }
    dns_obstacle(spec)
        .or_else(|| port_obstacle(spec, asked.options))
        .or_else(|| volume_obstacle(spec))
}

fn is_windows(spec: &PodSpec) -> bool {
    let named = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    let chosen = spec
        .node_selector
        .as_ref()
        .and_then(|labels| labels.get("kubernetes.io/os"));
    named || chosen.is_some_and(|os| os == "windows")
}

/// The sidecar finds operator and gateways by names of the cluster, as the pod resolves them.
fn dns_obstacle(spec: &PodSpec) -> Option<String> {
    let config = spec.dns_config.as_ref();
    let searches = config.and_then(|config| config.searches.as_ref());
    match spec.dns_policy.as_deref() {
        Some("Default") => Some(
            "its dnsPolicy is Default, so that it finds no Service by name: use ClusterFirst".to_owned(),
        ),
        Some("None") if searches.is_none_or(Vec::is_empty) => Some(
            "its dnsPolicy is None without searches in dnsConfig, so that it finds no Service by name: use ClusterFirst"
                .to_owned(),
        ),
        _ => None,
    }
}

fn port_obstacle(spec: &PodSpec, options: &SidecarOptions) -> Option<String> {
    let taken = [i32::from(options.intercept_port), i32::from(options.admin.port())];
    containers(spec).find_map(|container| {
        let mut ports = container.ports.iter().flatten();
        let port = ports.find(|port| {
            taken.contains(&port.container_port) && port.protocol.as_deref().is_none_or(|one| one == "TCP")
        })?;
        Some(format!(
            "the container {} has the port {}, which the sidecar needs: use another",
            container.name, port.container_port
        ))
    })
}

fn volume_obstacle(spec: &PodSpec) -> Option<String> {
    let mut volumes = spec.volumes.iter().flatten();
    let volume = volumes.find(|volume| [TOKEN_VOLUME, STATE_VOLUME].contains(&volume.name.as_str()))?;
    Some(format!(
        "it has a volume {}, a name the sidecar needs: rename it",
        volume.name
    ))
}

/// What runs as the sidecar's uid is not redirected: it would silently be another kind of workload than the rest.
/// Not answered with another uid: images may have a uid of their own that nothing here shows, so people choose.
fn same_uid(spec: &PodSpec, uid: i64) -> Option<String> {
    let pod = spec
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    let container = containers(spec).find(|container| {
        let own = container
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user);
        own.or(pod) == Some(uid)
    })?;
    Some(format!(
        "the container {} runs as uid {uid}, which is the sidecar's: change it, or set the annotation {}",
        container.name,
        overrides::UID
    ))
}

#[cfg(test)]
pub(super) mod tests;
