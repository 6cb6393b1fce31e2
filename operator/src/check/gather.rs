//! Reads what the decisions need. Nothing here is judged.

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use landbridge_crds::{Destination, ServiceChannel, ServiceMapping};

use super::facts::{Before, Cluster, Installed, Leftovers, Read};
use super::reader::Reader;
use super::{Options, Trouble};

mod installation;
mod interception;
mod listing;
mod pages;

use installation::Configured;

/// Calls at the same time: polite to a small API server.
pub(super) const AT_ONCE: usize = 8;

/// Label of the vendor's pods, which ours have too (seed L35291 names its prefix).
const VENDOR_LABEL: &str = "transparent-proxy.connectivity.api.sap/component";

/// Selects the operators of all installations.
const OPERATORS: &str = "app.kubernetes.io/name=landbridge,app.kubernetes.io/component=operator";

/// What the charts create in the namespace of the installation: group and resource.
const NAMESPACED: &[(&str, &str)] = &[
    ("", "serviceaccounts"),
    ("", "services"),
    ("", "configmaps"),
    ("", "secrets"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("batch", "jobs"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
];

/// What they create for the whole cluster.
const OF_CLUSTER: &[(&str, &str)] = &[
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
];

/// And where one installation looks after several namespaces.
const WEBHOOK: (&str, &str) = ("admissionregistration.k8s.io", "validatingwebhookconfigurations");

/// For [`super::Phase::Before`].
pub(super) async fn before(reader: &Reader, options: &Options) -> Before {
    let extra = async |wanted: bool, path: &str| match wanted {
        true => Some(reader.page(path).await.map(|_| ())),
        false => None,
    };
    let extras = options.extras;
    Before {
        cluster: cluster(reader, options).await,
        rights: rights(reader, options).await,
        others: others(reader, options).await,
        cert_manager: extra(extras.cert_manager, "/apis/cert-manager.io/v1").await,
        autoscaler: extra(extras.autoscaler, "/apis/autoscaling.k8s.io/v1").await,
        prometheus: extra(extras.prometheus, "/apis/monitoring.coreos.com/v1").await,
    }
}

/// For [`super::Phase::Installed`]. What may take long is asked at the same time: pods that are gone, and a Lease that is
/// watched.
pub(super) async fn installed(reader: &Reader, options: &Options) -> Installed {
    let cluster = cluster(reader, options).await;
    let deployment = installation::deployment(reader, options).await;
    let configured = Configured::of(deployment.as_ref().ok());
    let everywhere = configured.everywhere;
    let interception = interception::interception(reader, options, &configured).await;
    let ((operators, status), (proxies, connectors), lease, (webhook, probe), keys) = tokio::join!(
        installation::operators(reader, options),
        installation::proxies(reader, options),
        installation::lease(reader, options),
        async {
            match configured.webhook {
                true => (
                    Some(installation::webhook(reader, options).await),
                    Some(installation::probe(reader, options).await),
                ),
                false => (None, None),
            }
        },
        installation::keys(reader, configured.instances),
    );
    Installed {
        now: Timestamp::now().as_second(),
        cluster,
        deployment,
        operators,
        lease,
        status,
        authorities: installation::authorities(reader, options).await,
        webhook,
        probe,
        keys,
        misread: configured.misread,
        proxies,
        connectors,
        interception,
        destinations: listing::destinations(reader, options, everywhere).await,
        channels: listing::channels::<ServiceChannel>(reader, options, everywhere).await,
        mappings: match options.watch_namespace {
            Some(_) => Ok(super::facts::Listing::default()),
            None => listing::channels::<ServiceMapping>(reader, options, everywhere).await,
        },
    }
}

/// For [`super::Phase::Uninstall`]. No more rights than to list these kinds are needed.
pub(super) async fn leftovers(reader: &Reader, options: &Options) -> Leftovers {
    let channels = listing::names::<ServiceChannel>(reader, options).await;
    Leftovers {
        answers: channels.as_ref().map(|_| ()).map_err(Trouble::clone),
        channels,
        mappings: listing::names::<ServiceMapping>(reader, options).await,
        destinations: listing::names::<Destination>(reader, options).await,
    }
}

async fn cluster(reader: &Reader, options: &Options) -> Cluster {
    let client = reader.client();
    let version = reader.call(client.apiserver_version()).await.and_then(|info| {
        // Some vendors write "29+".
        let number = |text: &str| {
            text.trim_end_matches(|sign: char| !sign.is_ascii_digit())
                .parse()
                .ok()
        };
        let parsed = number(&info.major).zip(number(&info.minor));
        let unreadable = || Trouble::NoAnswer(format!("{} is no version", info.git_version));
        let (major, minor) = parsed.ok_or_else(unreadable)?;
        Ok((major, minor, info.git_version))
    });
    let mut definitions = Vec::new();
    if version.is_err() {
        // Everything else would wait for the same.
        return Cluster {
            namespace: Err(Trouble::NoAnswer("not asked".to_owned())),
            version,
            definitions,
        };
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let known: Api<CustomResourceDefinition> = Api::all(client);
    for ours in landbridge_crds::yaml::definitions() {
        let theirs = reader.call(known.get(&ours.name_any())).await;
        definitions.push((ours, theirs));
    }
    Cluster {
        namespace: reader.call(namespaces.get(&options.namespace)).await,
        version,
        definitions,
    }
}

async fn rights(reader: &Reader, options: &Options) -> Vec<(String, Read<bool>)> {
    let namespaced = NAMESPACED
        .iter()
        .map(|one| (one, Some(options.namespace.as_str())));
    let webhook = options.watch_namespace.is_none().then_some(&WEBHOOK);
    let of_cluster = OF_CLUSTER.iter().chain(webhook).map(|one| (one, None));
    let mut wanted = Vec::new();
    for (&(group, resource), namespace) in namespaced.chain(of_cluster) {
        for verb in ["create", "patch", "delete"] {
            wanted.push((verb, group, resource, namespace));
        }
    }
    let reviews: Api<SelfSubjectAccessReview> = Api::all(reader.client());
    let ask = |(verb, group, resource, namespace): (&str, &str, &str, Option<&str>)| {
        let right = match group {
            "" => format!("{verb} {resource}"),
            _ => format!("{verb} {resource}.{group}"),
        };
        let review = review(verb, group, resource, namespace);
        let reviews = reviews.clone();
        async move {
            let answer = reader.call(reviews.create(&PostParams::default(), &review)).await;
            (
                right,
                answer.map(|review| review.status.is_some_and(|status| status.allowed)),
            )
        }
    };
    stream::iter(wanted).map(ask).buffered(AT_ONCE).collect().await
}

fn review(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> SelfSubjectAccessReview {
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                namespace: namespace.map(ToOwned::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

/// Pods of other products for the same resources, and of other installations.
async fn others(reader: &Reader, options: &Options) -> Read<Vec<String>> {
    let pods: Api<Pod> = match &options.watch_namespace {
        Some(namespace) => Api::namespaced(reader.client(), namespace),
        None => Api::all(reader.client()),
    };
    let mut others = Vec::new();
    let vendor = format!("{VENDOR_LABEL},app.kubernetes.io/name!=landbridge");
    for selector in [vendor.as_str(), OPERATORS] {
        let selected = ListParams::default().labels(selector).limit(100);
        let found = reader.call(pods.list_metadata(&selected)).await?;
        let names = found.items.iter().filter_map(|pod| {
            let namespace = pod.namespace().unwrap_or_default();
            // Ours, when this is an update.
            let own = selector == OPERATORS && namespace == options.namespace;
            (!own).then(|| format!("{namespace}/{}", pod.name_any()))
        });
        others.extend(names);
    }
    Ok(others)
}
