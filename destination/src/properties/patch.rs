//! A part of a destination's properties to be changed: a text sets one, null removes it (later API).

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::value::OptionalValue;
use super::{DestinationConfig, MAX_PROPERTIES, METADATA, shorten};

/// Changes of some properties.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    set: DestinationConfig,
    removed: Vec<String>,
}

impl Patch {
    /// What is to be set; the name of the thing to be changed is among it.
    pub fn set(&self) -> &DestinationConfig {
        &self.set
    }

    /// What is to be removed.
    pub fn removed(&self) -> &[String] {
        &self.removed
    }

    /// The properties as they are then. What is set keeps its place, what is new comes last.
    #[must_use]
    pub fn applied_to(&self, config: &DestinationConfig) -> DestinationConfig {
        let mut changed = config.clone();
        for key in &self.removed {
            changed.remove(key);
        }
        for (key, value) in self.set.iter() {
            changed.set(key, value);
        }
        changed
    }
}

impl<'de> Deserialize<'de> for Patch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PatchVisitor;
        impl<'de> Visitor<'de> for PatchVisitor {
            type Value = Patch;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of text properties, or null for those to be removed")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut patch = Patch::default();
                while let Some(key) = map.next_key::<String>()? {
                    if patch.set.len() + patch.removed.len() >= MAX_PROPERTIES {
                        return Err(A::Error::custom(format_args!(
                            "more than {MAX_PROPERTIES} properties"
                        )));
                    }
                    if key == METADATA {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if patch.set.get(&key).is_some() || patch.removed.contains(&key) {
                        let key = shorten(&key);
                        return Err(A::Error::custom(format_args!(
                            "property \"{key}\" appears twice; send it once"
                        )));
                    }
                    match map.next_value_seed(OptionalValue { key: &key })? {
                        Some(value) => {
                            patch.set.set(key, value);
                        }
                        None => patch.removed.push(key),
                    }
                }
                Ok(patch)
            }
        }
        deserializer.deserialize_map(PatchVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_removes_and_text_sets() {
        let patch: Patch =
            serde_json::from_str(r#"{"Name":"d","URL":"http://b","User":null,"n":1,"$metadata":{"a":[1]}}"#)
                .unwrap();
        let before: DestinationConfig = [("Name", "d"), ("User", "u"), ("URL", "http://a")]
            .into_iter()
            .collect();
        let expected = [("Name", "d"), ("URL", "http://b"), ("n", "1")];
        assert!(patch.applied_to(&before).iter().eq(expected));
        assert_eq!(patch.removed(), ["User"]);
        for bad in [
            r#"{"a":[1]}"#,
            r#"{"a":{}}"#,
            r#"{"a":null,"a":"x"}"#,
            r#"{"a":"x","a":"y"}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<Patch>(bad).is_err(), "{bad}");
        }
    }
}
