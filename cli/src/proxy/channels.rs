//! Service channels in the process: where they are part of what starts and stops, and `/channels` of the admin endpoint.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use landbridge_proxy::channels::ServiceChannels;
use landbridge_runtime::dial::Dialer;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::shutdown::{Drained, Shutdown};
use landbridge_tunnel::ChannelService;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::lookups::Lookups;
use super::settings::Settings;

/// The channels, and what stops them.
pub(super) struct ServiceChannelPart {
    pub channels: ServiceChannels,
    shutdown: Shutdown,
}

impl ServiceChannelPart {
    /// What the acceptor needs of it.
    pub(super) fn service(&self) -> ChannelService {
        ChannelService {
            handler: Arc::new(self.channels.clone()),
            shutdown: self.shutdown.clone(),
        }
    }
}

/// Only where connectors are taken.
///
/// # Errors
/// The name resolver cannot be built.
pub(super) fn start(
    settings: &Settings,
    lookups: &Lookups,
    metrics: &Metrics,
) -> Result<Option<ServiceChannelPart>> {
    let Some((stores, _)) = lookups.stores.as_ref().filter(|_| settings.acceptor().is_some()) else {
        return Ok(None);
    };
    let dialer = Dialer::new(settings.targets())?;
    Ok(Some(ServiceChannelPart {
        channels: ServiceChannels::new(dialer, stores.clone(), metrics),
        shutdown: Shutdown::new(),
    }))
}

/// Drains them when `front` begins to, beside the gateway and as long as that may take.
pub(super) fn drain_with(
    part: Option<ServiceChannelPart>,
    front: &Shutdown,
    deadline: Duration,
) -> JoinHandle<()> {
    let front = front.clone();
    tokio::spawn(async move {
        let Some(part) = part else { return };
        front.started().await;
        if let Drained::Forced(count) = part.shutdown.drain(deadline).await {
            tracing::warn!(
                count,
                "streams of service channels were cut off at the end of the drain"
            );
        }
    })
}

/// `/channels`: what connectors may open, and who holds it. Nothing secret is among it.
pub(super) fn router(part: Option<&ServiceChannelPart>) -> Router {
    let channels = part.map(|part| part.channels.clone());
    Router::new().route("/channels", get(show).with_state(channels))
}

async fn show(State(channels): State<Option<ServiceChannels>>) -> Json<Value> {
    let Some(channels) = channels else {
        return Json(json!({ "channels": [], "takesConnectors": false }));
    };
    let states = channels.states();
    let list: Vec<Value> = channels
        .all()
        .iter()
        .map(|channel| {
            json!({
                "namespace": channel.key.namespace,
                "name": channel.key.name,
                "kind": channel.kind,
                "serviceId": channel.service_id,
                "subaccount": channel.subaccount,
                "locationIds": channel.location_ids,
                "address": channel.address,
                "enabled": channel.connector.is_none_or(|side| side.enabled),
                "heldAt": states.get(&channel.key),
            })
        })
        .collect();
    Json(json!({ "channels": list, "takesConnectors": true }))
}
