//! What may be shown of a credential: its scheme and its last four characters, enough to tell two apart.

/// `Bearer eyJhbGci...x7Qk` becomes `Bearer ...x7Qk`. A value without a scheme, or too short to hide anything, shows
/// less: never more than four characters and never more than a quarter of the secret.
pub fn credential(value: &str) -> String {
    match value.trim().split_once(' ') {
        Some((scheme, secret)) if scheme.len() <= 16 => format!("{scheme} {}", tail(secret.trim())),
        _ => tail(value.trim()),
    }
}

fn tail(secret: &str) -> String {
    let length = secret.chars().count();
    let shown = (length / 4).min(4);
    let start = secret
        .char_indices()
        .nth(length - shown)
        .map_or(secret.len(), |(at, _)| at);
    format!("...{}", &secret[start..])
}

#[cfg(test)]
mod tests {
    use super::credential;

    #[test]
    fn shows_scheme_and_last_four() {
        for (value, shown) in [
            ("Basic dGVzdDpwYXNzMTIzNDU=", "Basic ...NDU="),
            ("Bearer 0123456789abcdefghij", "Bearer ...ghij"),
            ("0123456789abcdefghij", "...ghij"),
            ("Bearer abc", "Bearer ..."),
            ("abcdefgh", "...gh"),
            ("", "..."),
            (
                "Bearer \u{e4}\u{f6}\u{fc}\u{df}\u{e4}\u{f6}\u{fc}\u{df}",
                "Bearer ...\u{fc}\u{df}",
            ),
        ] {
            assert_eq!(credential(value), shown, "{value}");
        }
    }
}
