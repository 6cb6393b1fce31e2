//! Administration of what has a name and properties, on subaccount and on instance level. One implementation; what
//! differs is in [`Item`].

mod read;

use landbridge_destination::DestinationConfig;

use super::error::ApiError;
use crate::app::App;
use crate::auth::{Access, Area, At, Caller};
use crate::db::Place;
use crate::records::{Records, Stored};

pub(crate) use read::{list, one};

/// What is administered.
pub(crate) trait Item: Stored {
    /// The path of all of them on subaccount and on instance level, as links name it.
    const PATHS: [&'static str; 2];

    /// Where they are kept.
    fn records(app: &App) -> &Records<Self>;

    /// Its properties.
    fn properties(&self) -> &DestinationConfig;
}

impl Item for DestinationConfig {
    const PATHS: [&'static str; 2] = ["/subaccountDestinations", "/instanceDestinations"];

    fn records(app: &App) -> &Records<Self> {
        &app.destinations
    }

    fn properties(&self) -> &DestinationConfig {
        self
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

impl Level for Subaccount {
    const AT: At = At::Subaccount;

    fn place(caller: &Caller) -> Place {
        caller.subaccount_level()
    }

    fn path<T: Item>() -> &'static str {
        T::PATHS[0]
    }
}

/// Where things of a level are for this caller, if the token permits this.
fn place<L: Level>(caller: &Caller, access: Access) -> Result<Place, ApiError> {
    caller.require(Area::Configuration, L::AT, access)?;
    Ok(L::place(caller))
}
