//! Which of the proxies that serve a destination its calls are to go to: a system behind a firewall is reached only from
//! where a connector is connected.

use landbridge_destination::properties::ProxyType;

use crate::plan::Lookup;

/// Location ids of the connectors at a proxy, sorted; none where it takes no connectors at all.
pub type Locations = Option<Vec<String>>;

/// What a proxy needs for a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Nothing: its system is on the Internet, or not known yet.
    Anywhere,
    /// The tunnel of a connector of this location id; empty for those without one.
    Location(String),
    /// Any tunnel it may have: each request names its own destination (gateway).
    AnyLocation,
}

/// How well a proxy suits; the best ones of all are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suits {
    /// It has no tunnels. Better than nobody: its answer tells the caller what is missing, where a Service without
    /// endpoints only refuses the connection.
    Answers,
    /// It takes connectors, though none is there that is needed.
    TakesConnectors,
    /// It reaches the system.
    Reaches,
}

impl Reach {
    /// What a destination needs, by what the store said.
    pub fn of(lookup: &Lookup) -> Self {
        let config = match lookup {
            Lookup::NotNeeded => return Self::AnyLocation,
            Lookup::Found(config) => config,
            Lookup::Unavailable {
                last: Some(config), ..
            } => config,
            _ => return Self::Anywhere,
        };
        if config.proxy_type() == ProxyType::OnPremise {
            Self::Location(config.location_id().unwrap_or_default().to_owned())
        } else {
            Self::Anywhere
        }
    }

    /// How well a proxy with these connectors suits.
    pub fn suits(&self, locations: &Locations) -> Suits {
        match (self, locations) {
            (Self::Anywhere, _) => Suits::Reaches,
            (_, None) => Suits::Answers,
            (Self::AnyLocation, Some(_)) => Suits::Reaches,
            (Self::Location(location), Some(connected)) => {
                if connected.iter().any(|connected| connected == location) {
                    Suits::Reaches
                } else {
                    Suits::TakesConnectors
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landbridge_destination::DestinationConfig;

    use super::*;

    fn found(properties: &[(&str, &str)]) -> Arc<DestinationConfig> {
        let mut config = DestinationConfig::new();
        for (key, value) in properties {
            config.set(*key, *value);
        }
        Arc::new(config)
    }

    #[test]
    fn what_a_destination_needs() {
        let premise = found(&[("ProxyType", "OnPremise")]);
        let plant = found(&[("ProxyType", "OnPremise"), ("CloudConnectorLocationId", "plant")]);
        let away = |last| Lookup::Unavailable {
            reason: "away".into(),
            last,
        };
        for (lookup, reach) in [
            (Lookup::Pending, Reach::Anywhere),
            (Lookup::NotFound("no".into()), Reach::Anywhere),
            (Lookup::NotNeeded, Reach::AnyLocation),
            (
                Lookup::Found(found(&[("ProxyType", "Internet")])),
                Reach::Anywhere,
            ),
            (Lookup::Found(found(&[])), Reach::Anywhere),
            (Lookup::Found(premise), Reach::Location(String::new())),
            (Lookup::Found(Arc::clone(&plant)), Reach::Location("plant".into())),
            (away(Some(plant)), Reach::Location("plant".into())),
            (away(None), Reach::Anywhere),
        ] {
            assert_eq!(Reach::of(&lookup), reach, "{lookup:?}");
        }
    }

    #[test]
    fn how_well_a_proxy_suits() {
        let plant = Some(vec!["plant".to_owned()]);
        let (default, none) = (Some(vec![String::new()]), Some(Vec::new()));
        let at = |location: &str| Reach::Location(location.to_owned());
        for (reach, locations, suits) in [
            (Reach::Anywhere, &None, Suits::Reaches),
            (Reach::Anywhere, &plant, Suits::Reaches),
            (at("plant"), &plant, Suits::Reaches),
            (at("plant"), &default, Suits::TakesConnectors),
            (at(""), &default, Suits::Reaches),
            (at(""), &plant, Suits::TakesConnectors),
            (at(""), &none, Suits::TakesConnectors),
            (at(""), &None, Suits::Answers),
            (Reach::AnyLocation, &none, Suits::Reaches),
            (Reach::AnyLocation, &None, Suits::Answers),
        ] {
            assert_eq!(reach.suits(locations), suits, "{reach:?} {locations:?}");
        }
        assert!(Suits::Reaches > Suits::TakesConnectors && Suits::TakesConnectors > Suits::Answers);
    }
}
