//! Where a destination and its fragments are found, and what becomes of them together.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use landbridge_destination::{DestinationConfig, Level};

use super::asked::{FragmentsAsked, Version};
use crate::api::error::ApiError;
use crate::app::App;
use crate::auth::{Access, Area, At, Caller};
use crate::db::Place;
use crate::fragment::{Fragment, merge};
use crate::records::Record;

/// A destination as it is consumed.
pub(crate) struct Found {
    /// What is kept under its name.
    pub(crate) record: Arc<Record<DestinationConfig>>,
    /// The level that was named.
    pub(crate) level: Option<Level>,
    /// Where that was found.
    pub(crate) place: Place,
    /// With each fragment, where it was found.
    pub(crate) fragments: Vec<(Place, Arc<Record<Fragment>>)>,
    /// Both together; `None` without fragments.
    merged: Option<DestinationConfig>,
}

impl Found {
    /// The properties that count.
    pub(crate) fn config(&self) -> &DestinationConfig {
        self.merged.as_ref().unwrap_or(&self.record.value)
    }

    /// Changes when the destination or one of its fragments does.
    pub(crate) fn etag(&self) -> String {
        if self.fragments.is_empty() {
            return self.record.etag.clone();
        }
        let mut context = Context::new(&SHA256);
        context.update(self.record.etag.as_bytes());
        for (_, fragment) in &self.fragments {
            context.update(fragment.etag.as_bytes());
        }
        let digest = context.finish();
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Finds a destination by its name: on the level that is named, or else on the instance's and then the subaccount's
/// (seed L13206, L11461).
pub(crate) async fn find(
    app: &App,
    caller: &Caller,
    version: Version,
    (name, level): (&str, Option<Level>),
    asked: &FragmentsAsked,
) -> Result<Found, ApiError> {
    permitted(caller, version, level, asked)?;
    let record = match level {
        Some(level) => app.destinations.get(&caller.level(level), name).await?,
        None => {
            let (tenant, instance) = (&caller.subaccount_id, &caller.instance_id);
            app.destinations.find(tenant, instance, name).await?
        }
    };
    let record = record.ok_or_else(ApiError::not_found)?;
    let place = match level {
        Some(level) => caller.level(level),
        None => Place {
            subaccount_id: caller.subaccount_id.clone(),
            owner: record.instance_id.clone().unwrap_or_default(),
        },
    };
    let fragments = fragments(app, caller, &place, asked).await?;
    let merged = match fragments.as_slice() {
        [] => None,
        fragments => Some(merge(
            &record.value,
            fragments.iter().map(|(_, fragment)| &fragment.value),
        )),
    };
    Ok(Found {
        record,
        level,
        place,
        fragments,
        merged,
    })
}

/// A subscriber's own subaccount level does not go together with another level: whoever may write there could otherwise
/// send what the other level keeps secret elsewhere (later API).
fn permitted(
    caller: &Caller,
    version: Version,
    level: Option<Level>,
    asked: &FragmentsAsked,
) -> Result<(), ApiError> {
    let at = match level {
        Some(Level::Subaccount | Level::ProviderSubaccount) => At::Subaccount,
        Some(Level::Instance | Level::ProviderInstance) | None => At::Instance,
    };
    caller.require(Area::Configuration, at, Access::Read)?;
    if version == Version::V1 || caller.provider_id == caller.subaccount_id {
        return Ok(());
    }
    let own = |level: Option<Level>| level == Some(Level::Subaccount);
    let mixed = asked.names.iter().any(|(_, other)| own(*other) != own(level));
    if mixed {
        return Err(ApiError::bad_request(
            "The level subaccount of a subscriber does not go together with another level; take destination and fragments \
             from the same one",
        ));
    }
    Ok(())
}

async fn fragments(
    app: &App,
    caller: &Caller,
    place: &Place,
    asked: &FragmentsAsked,
) -> Result<Vec<(Place, Arc<Record<Fragment>>)>, ApiError> {
    let mut found = Vec::with_capacity(asked.names.len());
    for (name, level) in &asked.names {
        let place = level.map_or_else(|| place.clone(), |level| caller.level(level));
        match app.fragments.get(&place, name).await? {
            Some(fragment) => found.push((place, fragment)),
            None if asked.optional => {}
            None => return Err(ApiError::no_fragment(name)),
        }
    }
    Ok(found)
}
