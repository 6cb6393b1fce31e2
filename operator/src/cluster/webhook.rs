//! The admission webhook in the cluster: its view of other objects, its server, and its registration, which the leading
//! replica keeps as it must be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Client, Resource, ResourceExt as _};
use landbridge_destination::RouteKey;
use landbridge_destination::channel::ChannelKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
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

/// The object, from the authorities that the webhook's certificate is checked against, PEM.
pub(super) type Wanted<K> = Box<dyn Fn(&[u8]) -> K + Send + Sync>;

/// An object that tells the API server to ask.
pub(super) struct Registration<K> {
    /// Field manager.
    pub manager: &'static str,
    /// What it is, for the log.
    pub what: &'static str,
    /// What it is to be.
    pub wanted: Wanted<K>,
}

/// How the admission webhook is registered.
pub(super) fn admission(
    namespace: String,
    config: WebhookConfig,
) -> Registration<ValidatingWebhookConfiguration> {
    Registration {
        manager: MANAGER,
        what: "admission webhook",
        wanted: Box::new(move |authorities| {
            configuration(&WebhookOptions {
                // One for each installation; they are cluster-scoped.
                name: format!("landbridge-{namespace}"),
                target: config.target.clone(),
                ca_bundle: authorities.to_vec(),
                fail_closed: config.fail_closed,
                install_namespace: namespace.clone(),
            })
        }),
    }
}

/// Keeps a registration as it must be, while this replica leads.
pub(super) async fn register<K>(
    client: Client,
    registration: Registration<K>,
    mut bundle: watch::Receiver<Bytes>,
    mut leadership: watch::Receiver<Leadership>,
) where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::all(client);
    let what = registration.what;
    loop {
        let leads = *leadership.borrow_and_update() == Leadership::Leading;
        let authorities = bundle.borrow_and_update().clone();
        let mut pause = LOOK;
        if leads && !authorities.is_empty() {
            let wanted = (registration.wanted)(&authorities);
            if let Err(error) = apply(&api, registration.manager, &wanted).await {
                tracing::warn!("the {what} cannot be registered, trying again: {error}");
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
async fn apply<K>(api: &Api<K>, manager: &str, wanted: &K) -> Result<(), CallError>
where
    K: Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let params = PatchParams::apply(manager).force();
    within(
        CALL,
        api.patch(&wanted.name_any(), &params, &Patch::Apply(wanted)),
    )
    .await?;
    Ok(())
}
