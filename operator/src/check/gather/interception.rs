//! What takes connections on their way: proxies of nodes, and sidecars.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::super::Options;
use super::super::facts::{Interception, Listing, Read};
use super::super::reader::Reader;
use super::installation::Configured;
use super::listing::{EXAMPLES, PAGE};
use crate::cluster::NAMESPACE_LABEL;
use crate::injection::decide::ENFORCE;
use crate::injection::decide::forbids_net_admin;
use crate::injection::{INJECT, OPTED_IN};

/// Name of the DaemonSet.
const NODES: &str = "landbridge-node";

pub(super) async fn interception(
    reader: &Reader,
    options: &Options,
    configured: &Configured,
) -> Interception {
    let sets: Api<DaemonSet> = Api::namespaced(reader.client(), &options.namespace);
    let nodes = reader.call(sets.get(NODES)).await;
    let Some(level) = &configured.injection else {
        return Interception {
            nodes,
            webhook: None,
            namespaces: None,
        };
    };
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(reader.client());
    let name = format!("landbridge-{}", options.namespace);
    Interception {
        nodes,
        webhook: Some(reader.call(webhooks.get(&name)).await),
        namespaces: Some(namespaces(reader, options, configured.everywhere, level).await),
    }
}

/// Namespaces that have opted in; bad are those whose Pod Security forbids sidecars. `level` counts where one names none.
async fn namespaces(reader: &Reader, options: &Options, everywhere: bool, level: &str) -> Read<Listing> {
    let api: Api<Namespace> = Api::all(reader.client());
    let mut labels = format!("{INJECT} in ({})", OPTED_IN.join(","));
    if !everywhere {
        labels.push_str(&format!(",{NAMESPACE_LABEL}={}", options.namespace));
    }
    let (mut listing, mut page) = (
        Listing::default(),
        ListParams::default().limit(PAGE).labels(&labels),
    );
    loop {
        let found = reader.call(api.list_metadata(&page)).await?;
        listing.total += found.items.len();
        for one in &found.items {
            let level = one.labels().get(ENFORCE).map_or(level, String::as_str);
            if !forbids_net_admin(level) {
                continue;
            }
            listing.bad += 1;
            if listing.examples.len() < EXAMPLES {
                listing.examples.push(format!("{}: {level}", one.name_any()));
            }
        }
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(listing),
        }
    }
}
