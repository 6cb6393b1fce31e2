//! The form of a path that decisions are made on. The path that is forwarded stays as it was sent: rewriting it breaks
//! applications, deciding on it as it is lets people around the rules.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Why a path is refused: a back end could understand it differently than the decision did.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Ambiguous {
    /// Not the path of a request.
    #[error("it does not begin with /")]
    Relative,
    /// `%2F`, `%5C` or a backslash: some servers see a separator.
    #[error("it has an encoded slash or a backslash")]
    Separator,
    /// `%00` and other control characters.
    #[error("it has a control character")]
    Control,
    /// `%25` before two hexadecimal digits: decoded twice it is another path.
    #[error("it is encoded twice")]
    Twice,
    /// `%` without two hexadecimal digits.
    #[error("it has a % that is not followed by two hexadecimal digits")]
    Encoding,
    /// More `..` than segments.
    #[error("it leads above the root")]
    AboveRoot,
    /// `..;x`: servers that remove parameters see `..`.
    #[error("it has a dot segment with a parameter")]
    Parameter,
}

/// A path decoded once, without empty and dot segments. A trailing slash is kept: it makes another path (case A-01).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NormalPath<'a> {
    normal: Cow<'a, [u8]>,
    /// The path with `..` left in it, when it has some.
    unresolved: Option<Vec<u8>>,
    changed: bool,
}

impl<'a> NormalPath<'a> {
    /// Brings a path into the form for decisions.
    pub fn new(raw: &'a str) -> Result<Self, Ambiguous> {
        if !raw.starts_with('/') {
            return Err(Ambiguous::Relative);
        }
        let decoded = decode(raw)?;
        let segments = || decoded.split(|byte| *byte == b'/').skip(1);
        for segment in segments() {
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            if name.len() != segment.len() && matches!(name, b"." | b"..") {
                return Err(Ambiguous::Parameter);
            }
        }
        // Nearly every path ends here, without having been copied.
        let last = segments().count() - 1;
        let plain = |(index, segment): (usize, &[u8])| {
            !matches!(segment, b"." | b"..") && (!segment.is_empty() || index == last)
        };
        if segments().enumerate().all(plain) {
            return Ok(Self {
                normal: decoded,
                unresolved: None,
                changed: false,
            });
        }
        let normal = resolve(segments(), true)?;
        let dots = segments().any(|segment| segment == b"..");
        let unresolved = if dots {
            Some(resolve(segments(), false)?)
        } else {
            None
        };
        Ok(Self {
            normal: Cow::Owned(normal),
            unresolved,
            changed: true,
        })
    }

    /// The path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.normal
    }

    /// The path before `..` was resolved, when it had any.
    pub fn unresolved(&self) -> Option<&[u8]> {
        self.unresolved.as_deref()
    }

    /// Whether empty or dot segments were removed.
    pub const fn was_changed(&self) -> bool {
        self.changed
    }

    /// The same without the borrowed text.
    pub fn into_owned(self) -> NormalPath<'static> {
        NormalPath {
            normal: Cow::Owned(self.normal.into_owned()),
            unresolved: self.unresolved,
            changed: self.changed,
        }
    }
}

fn decode(raw: &str) -> Result<Cow<'_, [u8]>, Ambiguous> {
    let bytes = raw.as_bytes();
    if bytes.contains(&b'\\') {
        return Err(Ambiguous::Separator);
    }
    for (index, _) in raw.match_indices('%') {
        let digits = bytes.get(index + 1..index + 3).ok_or(Ambiguous::Encoding)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(Ambiguous::Encoding);
        }
        if matches!(digits, b"2F" | b"2f" | b"5C" | b"5c") {
            return Err(Ambiguous::Separator);
        }
    }
    let decoded: Cow<'_, [u8]> = percent_decode(bytes).into();
    if decoded.iter().any(u8::is_ascii_control) {
        return Err(Ambiguous::Control);
    }
    let twice = |window: &[u8]| window[0] == b'%' && window[1..].iter().all(u8::is_ascii_hexdigit);
    if decoded.windows(3).any(twice) {
        return Err(Ambiguous::Twice);
    }
    Ok(decoded)
}

/// Joins the segments again, without empty ones, `.` and, when `parents`, `..` with what it leads back from
/// (RFC 3986 section 5.2.4).
fn resolve<'a>(segments: impl Iterator<Item = &'a [u8]>, parents: bool) -> Result<Vec<u8>, Ambiguous> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut directory = false;
    for segment in segments {
        directory = segment.is_empty() || segment == b"." || (parents && segment == b"..");
        if !directory {
            kept.push(segment);
        } else if segment == b".." && kept.pop().is_none() {
            return Err(Ambiguous::AboveRoot);
        }
    }
    let mut path = Vec::new();
    for segment in &kept {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    if directory || path.is_empty() {
        path.push(b'/');
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn brings_paths_into_one_form() {
        for (raw, normal) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/a%20b/%7euser", "/a b/~user"),
            ("//a///b", "/a/b"),
            ("//", "/"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/../", "/"),
            ("/odata;mo/x;v=1", "/odata;mo/x;v=1"),
            ("/a/..b/...", "/a/..b/..."),
            ("/100%25", "/100%"),
            ("/%23x", "/#x"),
        ] {
            assert_eq!(
                NormalPath::new(raw).unwrap().as_bytes(),
                normal.as_bytes(),
                "{raw}"
            );
        }
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        for (raw, why) in [
            ("", Ambiguous::Relative),
            ("*", Ambiguous::Relative),
            ("a/b", Ambiguous::Relative),
            ("/a%2Fb", Ambiguous::Separator),
            ("/a%2fb", Ambiguous::Separator),
            ("/a%5cb", Ambiguous::Separator),
            ("/a\\b", Ambiguous::Separator),
            ("/a%00", Ambiguous::Control),
            ("/a%0d%0a", Ambiguous::Control),
            ("/%252e%252e/", Ambiguous::Twice),
            ("/a%252Fb", Ambiguous::Twice),
            ("/a%", Ambiguous::Encoding),
            ("/a%2", Ambiguous::Encoding),
            ("/a%zz", Ambiguous::Encoding),
            ("/..", Ambiguous::AboveRoot),
            ("/a/../..", Ambiguous::AboveRoot),
            ("/%2e%2e/a", Ambiguous::AboveRoot),
            ("/a/..;/b", Ambiguous::Parameter),
            ("/a/.%2e;x=1/b", Ambiguous::Parameter),
        ] {
            assert_eq!(NormalPath::new(raw), Err(why), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_stays_as_it_is(raw in "/[a-z./;%0-9A-F~-]{0,40}") {
            if let Ok(path) = NormalPath::new(&raw) {
                let text = path.as_bytes();
                prop_assert!(text.starts_with(b"/"));
                prop_assert!(!text.windows(2).any(|pair| pair == b"//"));
                prop_assert!(!text.split(|byte| *byte == b'/').any(|segment| segment == b".." || segment == b"."));
            }
        }
    }
}
