use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn read_pairs(pairs: &[(&str, &str)]) -> Result<Given, String> {
    read(&headers(pairs)).map_err(|error| format!("{error:?}"))
}

const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// T36 (seed L13789-L13799): an empty header is none.
#[test]
fn the_user_token_wins_when_it_is_not_empty_t36() {
    let call = ("authorization", "bearer call");
    for (pairs, expected) in [
        (&[call, ("x-user-token", "user")][..], Some(("user", true))),
        (&[call, ("x-user-token", "")][..], Some(("call", false))),
        (&[call, ("x-user-token", "  ")][..], Some(("call", false))),
        (&[call][..], Some(("call", false))),
        (&[("authorization", "Basic x")][..], None),
    ] {
        assert_eq!(read_pairs(pairs).unwrap().user(), expected, "{pairs:?}");
    }
}

#[test]
fn all_headers_are_read_and_hidden() {
    let given = read_pairs(&[
        ("x-refresh-token", "s3"),
        ("x-code", "s3"),
        ("x-redirect-uri", "https%3A%2F%2Fa.example%2Fcb"),
        ("x-code-verifier", "s3"),
        ("x-client-assertion", "s3"),
        ("x-client-assertion-type", JWT),
        ("x-subject-token", "s3"),
        ("x-subject-token-type", "urn:x"),
        ("x-actor-token", "s3"),
        ("x-actor-token-type", "urn:y"),
        ("X-samlAssertion", "s3"),
    ])
    .unwrap();
    assert!(given.refresh_token.is_some() && given.code.is_some() && given.code_verifier.is_some());
    assert!(given.saml_assertion.is_some());
    assert_eq!(given.redirect_uri.as_deref(), Some("https://a.example/cb"));
    assert_eq!(given.subject.as_ref().unwrap().kind, "urn:x");
    assert_eq!(given.actor.as_ref().unwrap().kind, "urn:y");
    assert!(matches!(&given.assertion, AssertionSource::Caller(assertion) if assertion.kind == JWT));
    let shown = format!("{given:?}");
    assert!(!shown.contains("s3"), "{shown}");
    // One that is not encoded stays as it is, also with a percent sign in it.
    let given = read_pairs(&[("x-redirect-uri", "https://a.example/cb?x=%20")]).unwrap();
    assert_eq!(given.redirect_uri.as_deref(), Some("https://a.example/cb?x=%20"));
    let given = read_pairs(&[("x-client-assertion-destination-name", "p-1")]).unwrap();
    assert!(matches!(&given.assertion, AssertionSource::Provider(name) if name == "p-1"));
}

/// T30 (seed L9935-L9938) and the pairs (seed L9846).
#[test]
fn what_does_not_go_together_is_refused_t30() {
    for (pairs, expected) in [
        (&[("x-user-token", "a"), ("x-user-token", "b")][..], "sent twice"),
        (&[("x-code", "\u{e4}")][..], "ASCII"),
        (
            &[("x-client-assertion", "a")][..],
            "needs the header x-client-assertion-type",
        ),
        (
            &[("x-client-assertion-type", JWT), ("x-client-assertion", "")][..],
            "needs the header x-client-assertion;",
        ),
        (
            &[("x-client-assertion-type", "jwt"), ("x-client-assertion", "a")][..],
            "no absolute URI",
        ),
        (
            &[
                ("x-client-assertion-type", JWT),
                ("x-client-assertion", "a"),
                ("x-client-assertion-destination-name", "p"),
            ][..],
            "Cannot mix header",
        ),
        (
            &[("x-client-assertion-destination-name", "../p")][..],
            "has the character",
        ),
        (
            &[("x-subject-token", "a")][..],
            "needs the header x-subject-token-type",
        ),
        (
            &[("x-actor-token-type", "urn:x")][..],
            "needs the header x-actor-token;",
        ),
    ] {
        let error = read_pairs(pairs).unwrap_err();
        assert!(error.contains(expected), "{pairs:?}: {error}");
    }
}
