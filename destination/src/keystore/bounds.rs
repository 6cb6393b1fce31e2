//! How long a password may be made to take. The number of rounds stands in the file, unprotected: two billion of them would
//! keep a processor busy for a quarter of an hour.

use x509_parser::asn1_rs::{Any, FromDer, Tag};

use super::KeyStoreError;

/// Most rounds. OpenSSL writes 2048, keytool 10 000, and what is recommended in 2026 is some 600 000.
const MAX_ROUNDS: u64 = 2_000_000;

/// Deepest nesting looked at; a PKCS#12 has some 12 levels.
const MAX_DEPTH: usize = 24;

/// Refuses DER that asks for too many rounds. Where salt and rounds stand (RFC 8018 appendix A, RFC 7292 section 4), an
/// INTEGER follows an OCTET STRING; nothing else of a store looks like that.
pub(super) fn check(der: &[u8]) -> Result<(), KeyStoreError> {
    walk(der, 0)
}

fn walk(mut der: &[u8], depth: usize) -> Result<(), KeyStoreError> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    let mut salt = false;
    while let Ok((rest, value)) = Any::from_der(der) {
        let tag = value.tag();
        if salt && tag == Tag::Integer && value.as_u64().map_or(true, |rounds| rounds > MAX_ROUNDS) {
            return Err(KeyStoreError::TooSlow(MAX_ROUNDS));
        }
        salt = tag == Tag::OctetString;
        // What is encrypted does not parse, and then ends the walk there.
        if value.header.constructed() || salt {
            walk(value.data, depth + 1)?;
        }
        der = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_bounded_wherever_they_stand() {
        // SEQUENCE { OCTET STRING 8 bytes, INTEGER }
        let parameters = |rounds: &[u8]| {
            let mut inner = vec![0x04, 0x08, 1, 2, 3, 4, 5, 6, 7, 8, 0x02];
            inner.push(u8::try_from(rounds.len()).unwrap());
            inner.extend(rounds);
            let mut outer = vec![0x30, u8::try_from(inner.len()).unwrap()];
            outer.extend(inner);
            outer
        };
        let wrapped = |inner: Vec<u8>| [vec![0x04, u8::try_from(inner.len()).unwrap()], inner].concat();
        for (rounds, good) in [
            (&[0x08, 0x00][..], true),
            (&[0x1e, 0x84, 0x80], true),
            (&[0x1e, 0x84, 0x81], false),
            (&[0x7f, 0xff, 0xff, 0xff], false),
            (&[0x7f; 12], false),
        ] {
            let der = parameters(rounds);
            assert_eq!(check(&der).is_ok(), good, "{rounds:?}");
            assert_eq!(check(&wrapped(der)).is_ok(), good, "{rounds:?} within");
        }
        assert!(
            check(&[0x02, 0x04, 0x7f, 0xff, 0xff, 0xff]).is_ok(),
            "no salt before it"
        );
    }
}
