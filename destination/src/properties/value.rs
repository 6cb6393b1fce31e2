//! Reading one property's value from JSON: text, number or boolean. Arrays and objects are refused or skipped without
//! being built, because a few bytes of JSON can ask for a hundred times as much memory.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::shorten;

/// Reads the value of `key`; `None` for what is left out.
pub(super) struct PropertyValue<'a> {
    pub(super) key: &'a str,
    /// What is no text is left out instead of refused.
    pub(super) tolerant: bool,
}

impl PropertyValue<'_> {
    fn no_text<E: Error>(&self, found: &str) -> Result<Option<String>, E> {
        if self.tolerant {
            return Ok(None);
        }
        Err(E::custom(format_args!(
            "property \"{}\" is {found}; every property is a text (\"...\")",
            shorten(self.key)
        )))
    }
}

/// Reads the value of `key` where null is one: `None`.
pub(super) struct OptionalValue<'a> {
    pub(super) key: &'a str,
}

impl<'de> DeserializeSeed<'de> for OptionalValue<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for OptionalValue<'_> {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text or null")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let value = PropertyValue {
            key: self.key,
            tolerant: false,
        };
        value.deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for PropertyValue<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PropertyValue<'_> {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(text))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(flag.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        // As JSON writes it: 1.0 stays 1.0.
        match serde_json::Number::from_f64(number) {
            Some(number) => Ok(Some(number.to_string())),
            None => self.no_text("no number"),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        self.no_text("null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let left_out = self.no_text("an array")?;
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(left_out)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let left_out = self.no_text("an object")?;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, tolerant: bool) -> Result<Option<String>, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let value = PropertyValue { key: "k", tolerant }.deserialize(&mut deserializer);
        let value = value.map_err(|error| error.to_string())?;
        deserializer.end().map_err(|error| error.to_string())?;
        Ok(value)
    }

    #[test]
    fn texts_numbers_and_booleans() {
        for (json, text) in [
            (r#""a\u00e4""#, "a\u{e4}"),
            ("true", "true"),
            ("12", "12"),
            ("-12", "-12"),
            ("1.0", "1.0"),
            ("1.25", "1.25"),
        ] {
            for tolerant in [true, false] {
                assert_eq!(read(json, tolerant).unwrap().as_deref(), Some(text), "{json}");
            }
        }
    }

    #[test]
    fn the_rest_is_refused_or_left_out() {
        for (json, found) in [
            ("null", "is null"),
            ("[0,[1],{}]", "is an array"),
            (r#"{"a":[{"b":1}]}"#, "is an object"),
        ] {
            assert_eq!(read(json, true).unwrap(), None, "{json}");
            let error = read(json, false).unwrap_err();
            assert!(error.contains(found), "{error}");
        }
        // Refused at the first bracket: what comes after is not even looked at.
        assert!(read("[rubbish", false).unwrap_err().contains("is an array"));
    }
}
