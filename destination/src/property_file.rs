//! Destinations as property files of Java, in which they are exported and imported (seed L6265-L6306).

use encoding_rs::UTF_8;
use java_properties::{PropertiesIter, PropertiesWriter};

use crate::properties::{DestinationConfig, MAX_PROPERTIES, MAX_TOTAL_BYTES};

/// Largest file: every byte may be an escape of six.
const MAX_BYTES: usize = 6 * MAX_TOTAL_BYTES;

/// Endings of the names of property files (seed L6265).
pub const EXTENSIONS: [&str; 4] = ["props", "properties", "jks", "txt"];

/// A file that holds no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyFileError {
    /// Too large.
    #[error(
        "is larger than {MAX_BYTES} bytes, or has more than {MAX_PROPERTIES} properties: it is no destination"
    )]
    TooLarge,
    /// Not the syntax.
    #[error("line {line}: {reason}; write key=value in each line, and a backslash before = and : in keys")]
    Syntax {
        /// Counted from 1; 0 when it is not known.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A key comes twice.
    #[error("the property {0} comes twice; leave one")]
    Twice(String),
    /// No property at all.
    #[error("has no property; a destination has at least Name and Type")]
    Empty,
}

/// Reads a property file: ISO 8859-1, with `\uXXXX` for everything else. Blanks around values are dropped, as exported
/// files have some after `URL=` (seed L6883).
///
/// # Errors
/// See [`PropertyFileError`]; whether the properties make a destination is for `validate` to say.
pub fn read(bytes: &[u8]) -> Result<DestinationConfig, PropertyFileError> {
    if bytes.len() > MAX_BYTES {
        return Err(PropertyFileError::TooLarge);
    }
    // ISO 8859-1 has the first 256 characters of Unicode in their order.
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let text = join_surrogates(&text);
    let mut config = DestinationConfig::new();
    let mut twice = None;
    PropertiesIter::new_with_encoding(text.as_bytes(), UTF_8)
        .read_into(|key, value| {
            if config.get(&key).is_some() {
                twice.get_or_insert(key);
            } else if config.len() <= MAX_PROPERTIES {
                config.set(key, value.trim());
            }
        })
        .map_err(|error| PropertyFileError::Syntax {
            line: error.line_number().unwrap_or_default(),
            reason: error.to_string(),
        })?;
    match twice {
        Some(key) => Err(PropertyFileError::Twice(key)),
        None if config.is_empty() => Err(PropertyFileError::Empty),
        None if config.len() > MAX_PROPERTIES => Err(PropertyFileError::TooLarge),
        None => Ok(config),
    }
}

/// Characters beyond U+FFFF come as two escapes, which the library takes one by one: the character itself takes their
/// place. A backslash that is escaped itself begins none.
fn join_surrogates(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        joined.push_str(&rest[..at]);
        rest = &rest[at..];
        let pair = escape(rest).zip(rest.get(6..).and_then(escape));
        let character = pair.and_then(|(high, low)| char::decode_utf16([high, low]).next()?.ok());
        let (taken, length) = match character {
            Some(character) if u32::from(character) > 0xffff => (character.to_string(), 12),
            // The backslash and what it escapes.
            _ => {
                let length = rest.char_indices().nth(2).map_or(rest.len(), |(end, _)| end);
                (rest[..length].to_owned(), length)
            }
        };
        joined.push_str(&taken);
        rest = &rest[length..];
    }
    joined.push_str(rest);
    joined
}

/// The unit of UTF-16 that a text begins with as an escape.
fn escape(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// Writes a property file that [`read`] and every program of Java reads: ASCII, the rest as `\uXXXX`.
///
/// # Errors
/// [`PropertyFileError::Syntax`] for what cannot be written.
pub fn write(config: &DestinationConfig) -> Result<Vec<u8>, PropertyFileError> {
    let failed = |error: java_properties::PropertiesError| PropertyFileError::Syntax {
        line: 0,
        reason: error.to_string(),
    };
    let mut bytes = Vec::new();
    let mut writer = PropertiesWriter::new_with_encoding(&mut bytes, UTF_8);
    for (key, value) in config.iter() {
        writer.write(key, value).map_err(failed)?;
    }
    writer.flush().map_err(failed)?;
    drop(writer);
    let text = String::from_utf8_lossy(&bytes);
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Ok(ascii.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_syntax_of_java_in_its_encoding_t50() {
        let file = b"# comment\n! another\nName=erp\nType = HTTP\r\nURL= https\\://erp.example/a\\=b\nDescription=Gr\xfc\xdfe \\u20ac \\uD83D\\uDE00\n\
                     long=one \\\n   two\nURL.headers.a\\ b:c\nempty=\n";
        let config = read(file).unwrap();
        let found: Vec<_> = config.iter().collect();
        assert_eq!(
            found,
            [
                ("Name", "erp"),
                ("Type", "HTTP"),
                ("URL", "https://erp.example/a=b"),
                ("Description", "Grüße € 😀"),
                ("long", "one two"),
                ("URL.headers.a b", "c"),
                ("empty", ""),
            ]
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let config: DestinationConfig = [
            ("Name", "erp"),
            ("URL", "https://h/?a=b&c=d#e"),
            ("Password", "p#!=: \\n\t\u{80}\u{9f}ÿ€😀"),
            ("URL.headers.a=b c", "x\ny"),
        ]
        .into_iter()
        .collect();
        let file = write(&config).unwrap();
        assert!(file.is_ascii());
        assert_eq!(read(&file).unwrap(), config);
    }

    #[test]
    fn refuses_what_is_no_property_file() {
        assert_eq!(read(b""), Err(PropertyFileError::Empty));
        assert_eq!(read(b"a=1\na=2"), Err(PropertyFileError::Twice("a".into())));
        assert!(matches!(
            read(b"Name=x\nb=\\u12"),
            Err(PropertyFileError::Syntax { .. })
        ));
        assert_eq!(read(&vec![b'x'; MAX_BYTES + 1]), Err(PropertyFileError::TooLarge));
        let many: String = (0..600).map(|number| format!("k{number}=1\n")).collect();
        assert_eq!(read(many.as_bytes()), Err(PropertyFileError::TooLarge));
    }
}
