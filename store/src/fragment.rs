//! Fragments: parts of destinations, kept apart and merged into one on demand (later API).

use landbridge_destination::DestinationConfig;
use landbridge_destination::properties::keys;
use serde::{Deserialize, Serialize};

use crate::db::Kind;
use crate::records::Stored;

/// The property with a fragment's name.
pub(crate) const FRAGMENT_NAME: &str = "FragmentName";

/// A bag of properties that has no name or type of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fragment(pub(crate) DestinationConfig);

impl Stored for Fragment {
    const KIND: Kind = Kind::Fragment;

    fn name(&self) -> &str {
        self.0.text(FRAGMENT_NAME).unwrap_or_default()
    }
}

impl From<DestinationConfig> for Fragment {
    fn from(properties: DestinationConfig) -> Self {
        Self(properties)
    }
}

/// Why a fragment cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidFragment {
    #[error("the fragment has no {FRAGMENT_NAME}; give it 1 to 200 letters, digits, '_' or '-'")]
    Name,
    #[error("a fragment cannot have the property {0}, which is the destination's own; leave it out")]
    Reserved(&'static str),
    #[error("property \"{0}\" is too long, or has a name that is")]
    TooLong(String),
    #[error("the fragment is larger than {0} bytes; split it")]
    TooLarge(usize),
}

impl Fragment {
    /// Checks what the store accepts on write.
    pub(crate) fn validate(&self) -> Result<(), InvalidFragment> {
        use landbridge_destination::properties::{
            MAX_KEY_BYTES, MAX_TOTAL_BYTES, MAX_VALUE_BYTES, check_name,
        };
        check_name(self.name()).map_err(|_| InvalidFragment::Name)?;
        for reserved in [keys::NAME, keys::TYPE] {
            if self.0.get(reserved).is_some() {
                return Err(InvalidFragment::Reserved(reserved));
            }
        }
        let mut total = 0;
        for (key, value) in self.0.iter() {
            if key.is_empty() || key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES {
                return Err(InvalidFragment::TooLong(key.chars().take(80).collect()));
            }
            total += key.len() + value.len();
        }
        if total > MAX_TOTAL_BYTES {
            return Err(InvalidFragment::TooLarge(MAX_TOTAL_BYTES));
        }
        Ok(())
    }
}

/// Merges fragments into a destination, in their order; what a fragment says wins. The result names them.
pub(crate) fn merge<'a>(
    destination: &DestinationConfig,
    fragments: impl IntoIterator<Item = &'a Fragment>,
) -> DestinationConfig {
    let mut merged = destination.clone();
    let mut names = String::new();
    for fragment in fragments {
        for (key, value) in fragment.0.iter().filter(|(key, _)| *key != FRAGMENT_NAME) {
            merged.set(key, value);
        }
        if !names.is_empty() {
            names.push(',');
        }
        names.push_str(fragment.name());
    }
    if !names.is_empty() {
        merged.set(FRAGMENT_NAME, names);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(properties: &[(&str, &str)]) -> Fragment {
        Fragment(properties.iter().copied().collect())
    }

    #[test]
    fn later_fragments_win() {
        let destination: DestinationConfig = [("Name", "d"), ("URL", "http://a"), ("User", "u")]
            .into_iter()
            .collect();
        let one = fragment(&[("FragmentName", "one"), ("URL", "http://b"), ("x", "1")]);
        let two = fragment(&[("FragmentName", "two"), ("x", "2")]);
        let merged = merge(&destination, [&one, &two]);
        let expected = [
            ("Name", "d"),
            ("URL", "http://b"),
            ("User", "u"),
            ("x", "2"),
            ("FragmentName", "one,two"),
        ];
        assert!(merged.iter().eq(expected), "{merged:?}");
        assert_eq!(merge(&destination, []), destination);
    }

    #[test]
    fn what_a_fragment_may_have() {
        assert_eq!(
            fragment(&[("FragmentName", "f"), ("URL", "x")]).validate(),
            Ok(())
        );
        for (properties, problem) in [
            (vec![("URL", "x")], InvalidFragment::Name),
            (vec![("FragmentName", "a.b")], InvalidFragment::Name),
            (
                vec![("FragmentName", "f"), ("Name", "d")],
                InvalidFragment::Reserved("Name"),
            ),
            (
                vec![("FragmentName", "f"), ("Type", "HTTP")],
                InvalidFragment::Reserved("Type"),
            ),
            (
                vec![("FragmentName", "f"), ("", "x")],
                InvalidFragment::TooLong(String::new()),
            ),
        ] {
            assert_eq!(fragment(&properties).validate(), Err(problem));
        }
    }
}
