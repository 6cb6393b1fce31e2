//! Administration of what has a name and properties: destinations and fragments, on subaccount and on instance level
//! (seed L13241-L13299, L13911-L13926). One implementation; what differs is in [`Item`].

mod body;
mod change;
mod labels;
mod read;

use std::future::Future;
use std::sync::Arc;

use axum::routing::{MethodRouter, get};
use landbridge_destination::DestinationConfig;
use landbridge_destination::properties::keys;

use super::error::ApiError;
use crate::app::App;
use crate::auth::{Access, Area, At, Caller};
use crate::db::Place;
use crate::fragment::{FRAGMENT_NAME, Fragment};
use crate::records::{Records, Stored};

/// What is administered.
pub(crate) trait Item: Stored + From<DestinationConfig> {
    /// What it is called in messages.
    const WORD: &'static str;
    /// The property with its name.
    const NAME: &'static str;
    /// The path of all of them on subaccount and on instance level, as links name it.
    const PATHS: [&'static str; 2];

    /// Where they are kept.
    fn records(app: &App) -> &Records<Self>;

    /// Checks what is accepted on write; every mistake.
    fn check(&self) -> Result<(), String>;

    /// Its properties.
    fn properties(&self) -> &DestinationConfig;

    /// Refuses a deletion that others would suffer from.
    fn may_be_deleted(
        app: &App,
        place: &Place,
        names: &[String],
    ) -> impl Future<Output = Result<(), ApiError>> + Send;
}

impl Item for DestinationConfig {
    const WORD: &'static str = "destination";
    const NAME: &'static str = keys::NAME;
    const PATHS: [&'static str; 2] = ["/subaccountDestinations", "/instanceDestinations"];

    fn records(app: &App) -> &Records<Self> {
        &app.destinations
    }

    fn check(&self) -> Result<(), String> {
        self.validate().map_err(|invalid| invalid.to_string())
    }

    fn properties(&self) -> &DestinationConfig {
        self
    }

    async fn may_be_deleted(app: &App, place: &Place, names: &[String]) -> Result<(), ApiError> {
        change::unused_as_provider(app, place, names).await
    }
}

impl Item for Fragment {
    const WORD: &'static str = "fragment";
    const NAME: &'static str = FRAGMENT_NAME;
    const PATHS: [&'static str; 2] = ["/subaccountDestinationFragments", "/instanceDestinationFragments"];

    fn records(app: &App) -> &Records<Self> {
        &app.fragments
    }

    fn check(&self) -> Result<(), String> {
        self.validate().map_err(|invalid| invalid.to_string())
    }

    fn properties(&self) -> &DestinationConfig {
        &self.0
    }

    async fn may_be_deleted(_: &App, _: &Place, _: &[String]) -> Result<(), ApiError> {
        Ok(())
    }
}

/// A level.
pub(crate) trait Level: Send + Sync + 'static {
    /// For the rights that are needed.
    const AT: At;

    /// Where things of this level are, for this caller.
    fn place(caller: &Caller) -> Place;

    /// The path of all things of a kind on this level.
    fn path<T: Item>() -> &'static str;
}

/// The subaccount's own.
#[derive(Debug)]
pub(crate) struct Subaccount;

/// The instance's, or what it has for a subscriber.
#[derive(Debug)]
pub(crate) struct Instance;

impl Level for Subaccount {
    const AT: At = At::Subaccount;

    fn place(caller: &Caller) -> Place {
        caller.subaccount_level()
    }

    fn path<T: Item>() -> &'static str {
        T::PATHS[0]
    }
}

impl Level for Instance {
    const AT: At = At::Instance;

    fn place(caller: &Caller) -> Place {
        caller.instance_level()
    }

    fn path<T: Item>() -> &'static str {
        T::PATHS[1]
    }
}

/// What can be done with all things of a level.
pub(crate) fn collection<T: Item, L: Level>() -> MethodRouter<Arc<App>> {
    get(read::list::<T, L>)
        .post(change::create::<T, L>)
        .put(change::replace::<T, L>)
        .patch(change::patch::<T, L>)
        .delete(change::remove_many::<T, L>)
}

/// What can be done with one of them.
pub(crate) fn single<T: Item, L: Level>() -> MethodRouter<Arc<App>> {
    get(read::one::<T, L>).delete(change::remove::<T, L>)
}

/// What can be done with the labels of one of them.
pub(crate) fn labels<T: Item, L: Level>() -> MethodRouter<Arc<App>> {
    get(labels::read::<T, L>)
        .put(labels::replace::<T, L>)
        .patch(labels::patch::<T, L>)
}

/// Where things of a level are for this caller, if the token permits this.
fn place<L: Level>(caller: &Caller, access: Access) -> Result<Place, ApiError> {
    caller.require(Area::Configuration, L::AT, access)?;
    Ok(L::place(caller))
}
