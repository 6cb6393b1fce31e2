//! The admission webhook in the cluster: its view of other objects, its server, and its registration, which the leading
//! replica keeps as it must be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use landbridge_destination::RouteKey;
use landbridge_destination::channel::ChannelKey;
use tokio::sync::watch;

use super::client::{CALL, CallError, within};
use super::model::ForeignServices;
use super::stores::Stores;
use crate::admission::{Target, View, WebhookOptions, configuration};
use crate::channels::Declared;
use crate::channels::controller::Directory;
use crate::serve::Leadership;

/// Field manager of the registration.
const MANAGER: &str = "landbridge-operator/admission";

/// Pause between two looks at the registration: somebody may have edited it.
const LOOK: Duration = Duration::from_secs(300);

/// Pause after a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where the API server calls it.
    pub target: Target,
    /// Refuse objects while the webhook does not answer.
    pub fail_closed: bool,
}

/// What admission knows of other objects.
pub(super) struct ClusterView {
    pub services: ForeignServices,
    pub stores: Arc<Stores>,
    pub channels: Directory,
}

impl View for ClusterView {
    fn has_foreign_service(&self, namespace: &str, name: &str) -> bool {
        self.services.contains(&RouteKey::new(namespace, name))
    }

    fn instances(&self) -> Option<Vec<String>> {
        let names = self.stores.problems().into_iter().map(|(name, _)| name);
        Some(names.collect())
    }

    fn claimed(&self, channel: &Declared) -> Option<ChannelKey> {
        let claim = self.channels.claim_of(channel)?;
        self.channels.claimed(&claim, &channel.key)
    }

    fn same_claim(&self, one: &Declared, other: &Declared) -> bool {
        self.channels.claim_of(one) == self.channels.claim_of(other)
    }

    fn objection(&self, channel: &Declared) -> Option<String> {
        self.channels.objection(channel)
    }
}

/// Keeps the registration as it must be, while this replica leads.
pub(super) async fn register(
    client: Client,
    namespace: String,
    config: WebhookConfig,
    mut bundle: watch::Receiver<Bytes>,
    mut leadership: watch::Receiver<Leadership>,
) {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client);
    loop {
        let leads = *leadership.borrow_and_update() == Leadership::Leading;
        let authorities = bundle.borrow_and_update().clone();
        let mut pause = LOOK;
        if leads && !authorities.is_empty() {
            let wanted = configuration(&WebhookOptions {
                // One for each installation; they are cluster-scoped.
                name: format!("landbridge-{namespace}"),
                target: config.target.clone(),
                ca_bundle: authorities.to_vec(),
                fail_closed: config.fail_closed,
                install_namespace: namespace.clone(),
            });
            if let Err(error) = apply(&api, &wanted).await {
                tracing::warn!("the admission webhook cannot be registered, trying again: {error}");
                pause = AGAIN;
            }
        }
        tokio::select! {
            changed = bundle.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Applied without looking first: the API server does not store what changes nothing.
async fn apply(
    api: &Api<ValidatingWebhookConfiguration>,
    wanted: &ValidatingWebhookConfiguration,
) -> Result<(), CallError> {
    let params = PatchParams::apply(MANAGER).force();
    within(
        CALL,
        api.patch(&wanted.name_any(), &params, &Patch::Apply(wanted)),
    )
    .await?;
    Ok(())
}
