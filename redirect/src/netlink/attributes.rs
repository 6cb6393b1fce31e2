//! Attributes of netlink: length, type, value, padding to four bytes (linux/netlink.h, struct nlattr). Lengths, types and
//! headers are in the machine's byte order, numbers of the packet filter in that of the network.

use super::constants::{NLA_F_NESTED, NLA_TYPE_MASK, UDATA_COMMENT};

/// Length and type.
const HEADER: usize = 4;

/// Bytes of one attribute at most: the length has 16 bits.
const MAX: usize = u16::MAX as usize;

/// Longest comment that user data take: the length has 8 bits, and nft(8) ends it with a zero and takes 128 at most.
const MAX_COMMENT: usize = 127;

/// Attributes being written.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// One value. Values of ours are short; a longer one than fits is cut, and the kernel refuses the message.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let value = value.get(..MAX - HEADER).unwrap_or(value);
        let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A name, ended by a zero.
    pub(crate) fn name(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    /// Attributes within one.
    pub(crate) fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(kind | NLA_F_NESTED, &inner.bytes);
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Attributes that were received: type without flags, and value. Ends at the first that is damaged.
pub(crate) fn read(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & NLA_TYPE_MASK;
        let value = rest.get(..length.checked_sub(HEADER)?)?;
        bytes = rest.get(value.len().next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A number in network byte order.
pub(crate) fn find_number(bytes: &[u8], kind: u16) -> Option<u32> {
    let value = find(bytes, kind)?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// A name without the zero that ends it.
pub(crate) fn find_name(bytes: &[u8], kind: u16) -> Option<String> {
    let value = find(bytes, kind)?;
    let name = value.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// A comment as libnftnl writes it: type, length, text, zero.
pub(crate) fn comment(text: &str) -> Vec<u8> {
    let mut end = text.len().min(MAX_COMMENT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut value = text.as_bytes().get(..end).unwrap_or_default().to_vec();
    value.push(0);
    user_data(UDATA_COMMENT, &value)
}

/// One entry of user data.
pub(crate) fn user_data(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, u8::try_from(value.len()).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(value);
    bytes
}

/// The comment in user data; empty without one.
pub(crate) fn read_comment(mut bytes: &[u8]) -> String {
    while let [kind, length, rest @ ..] = bytes {
        let Some(value) = rest.get(..usize::from(*length)) else {
            break;
        };
        if *kind == UDATA_COMMENT {
            let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
            return String::from_utf8_lossy(text).into_owned();
        }
        bytes = rest.get(value.len()..).unwrap_or_default();
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut attributes = Attributes::default();
        attributes.name(1, "abc");
        attributes.number(2, 0x0102_0304);
        attributes.nested(3, |inner| inner.bytes(4, &[9]));
        let bytes = attributes.into_bytes();
        // 4 + 4; 4 + 4; 4 + (4 + 1 + 3 of padding).
        assert_eq!(bytes.len(), 8 + 8 + 12);
        assert_eq!(bytes[..4], [[8, 0], [1, 0]].concat());
        assert_eq!(bytes[12..16], [1, 2, 3, 4]);
        assert_eq!(find_name(&bytes, 1).as_deref(), Some("abc"));
        assert_eq!(find_number(&bytes, 2), Some(0x0102_0304));
        assert_eq!(find(find(&bytes, 3).unwrap(), 4), Some(&[9][..]));
        assert_eq!(find(&bytes, 5), None);
    }

    #[test]
    fn damaged_attributes_end_the_list() {
        for damaged in [
            &[][..],
            &[4],
            &[3, 0, 1, 0],
            &[9, 0, 1, 0, 1, 2, 3, 4],
            &[0, 0, 0, 0],
        ] {
            assert_eq!(read(damaged).count(), 0, "{damaged:?}");
        }
        assert_eq!(read_comment(&[0, 200, b'a']), "");
        assert_eq!(read_comment(&[0]), "");
    }

    #[test]
    fn comments_are_written_as_nft_reads_them() {
        assert_eq!(comment("x"), [0, 2, b'x', 0]);
        assert_eq!(read_comment(&comment("why")), "why");
        // Another entry before it; and one that is too long, cut at a character.
        assert_eq!(
            read_comment(&[user_data(2, &[7, 7]), comment("why")].concat()),
            "why"
        );
        let long = comment(&"ä".repeat(100));
        assert_eq!(long[1], 127);
        assert_eq!(read_comment(&long), "ä".repeat(63));
    }
}
