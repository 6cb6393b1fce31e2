//! The answer of a find call as it is written. Nothing is copied: this is the call that everybody makes.

use landbridge_destination::{AuthToken, Certificate, DestinationConfig, Owner};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer<'a> {
    /// Absent in the second call, which has it in the metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<Owner>,
    pub(crate) destination_configuration: Configuration<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth_tokens: Option<Vec<AuthToken>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificates: Option<Vec<Certificate>>,
}

/// Properties, with `$metadata` behind them where it was asked for.
pub(crate) struct Configuration<'a> {
    pub(crate) properties: &'a DestinationConfig,
    pub(crate) metadata: Option<Value>,
}

impl Serialize for Configuration<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(metadata) = &self.metadata else {
            return self.properties.serialize(serializer);
        };
        let mut map = serializer.serialize_map(Some(self.properties.len() + 1))?;
        for (key, value) in self.properties.iter() {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry("$metadata", metadata)?;
        map.end()
    }
}
