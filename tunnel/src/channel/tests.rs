use http::{HeaderValue, Method, Request};
use proptest::prelude::*;

use super::*;
use crate::mux::Opening;

fn valid() -> Request<()> {
    ChannelRequest::new(ChannelName::new("HANA", "test:db:3fcc976d").unwrap())
        .with_deadline(Duration::from_millis(2500))
        .with_request_id("req-1")
        .unwrap()
        .head()
        .unwrap()
}

#[test]
fn writes_the_documented_header() {
    let request = valid();
    assert_eq!(
        (request.method(), request.uri().to_string().as_str()),
        (&Method::CONNECT, "channel:1")
    );
    for (name, value) in [
        ("landbridge-version", "1"),
        ("landbridge-protocol", "channel"),
        ("landbridge-channel-kind", "HANA"),
        ("landbridge-channel-id", "test%3Adb%3A3fcc976d"),
        ("landbridge-deadline-ms", "2500"),
        ("landbridge-request-id", "req-1"),
    ] {
        assert_eq!(request.headers()[name], value, "{name}");
    }
    assert_eq!(request.headers().len(), 6);
}

#[test]
fn refuses_malformed_headers_with_the_right_reason() {
    use DenyReason::{BadOpen as Bad, UnsupportedVersion};
    let long = "x".repeat(254);
    let cases: [(&'static str, Option<&[u8]>, DenyReason); 13] = [
        ("landbridge-version", Some(b"2"), UnsupportedVersion),
        ("landbridge-version", None, Bad),
        ("landbridge-protocol", Some(b"tcp"), Bad),
        ("landbridge-protocol", None, Bad),
        ("landbridge-channel-kind", Some(b"tcp"), Bad),
        ("landbridge-channel-kind", Some(b"ABCDEFGHIJKLMNOPQ"), Bad),
        ("landbridge-channel-kind", None, Bad),
        ("landbridge-channel-id", Some(b""), Bad),
        ("landbridge-channel-id", Some(b"a%2Fb"), Bad),
        ("landbridge-channel-id", Some(b"%ff"), Bad),
        ("landbridge-channel-id", Some(b"caf\xe9"), Bad),
        ("landbridge-channel-id", Some(long.as_bytes()), Bad),
        ("landbridge-deadline-ms", Some(b"0"), Bad),
    ];
    for (name, value, reason) in cases {
        let mut request = valid();
        match value {
            Some(value) => drop(
                request
                    .headers_mut()
                    .insert(name, HeaderValue::from_bytes(value).unwrap()),
            ),
            None => drop(request.headers_mut().remove(name)),
        }
        let found = ChannelRequest::decode(&request).unwrap_err();
        assert_eq!(found.reason(), reason, "{name} {value:?}: {found}");
    }
    let mut twice = valid();
    twice
        .headers_mut()
        .append("landbridge-channel-id", HeaderValue::from_static("other"));
    let found = ChannelRequest::decode(&twice).unwrap_err();
    assert_eq!(found, BadOpen::Repeated("landbridge-channel-id"));
    let mut get = valid();
    *get.method_mut() = Method::GET;
    assert_eq!(
        ChannelRequest::decode(&get).unwrap_err(),
        BadOpen::Method(Method::GET)
    );
}

#[test]
fn names_are_checked_in_json_too() {
    let read = |text: &str| serde_json::from_str::<Offered>(text);
    let offered =
        read(r#"{"kind":"TCP","id":"web","local":{"port":8080,"enabled":true},"later":1}"#).unwrap();
    assert_eq!(offered.name, ChannelName::new("TCP", "web").unwrap());
    assert_eq!(
        offered.local,
        Some(LocalSide {
            port: 8080,
            connections: 0,
            enabled: true
        })
    );
    for bad in [
        r#"{"kind":"TCP","id":"a b"}"#,
        r#"{"kind":"tcp","id":"web"}"#,
        r#"{"kind":"TCP"}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let text = serde_json::to_string(&offered).unwrap();
    assert_eq!(read(&text).unwrap(), offered);
}

proptest! {
    #[test]
    fn survives_the_wire(kind in "[A-Z0-9]{1,16}", id in r"[^\s/\p{Cc}]{1,253}") {
        let name = ChannelName::new(&kind, &id).unwrap();
        let request = ChannelRequest::new(name).with_deadline(Duration::from_millis(7));
        prop_assert_eq!(ChannelRequest::decode(&request.head().unwrap()).unwrap(), request);
    }

    #[test]
    fn never_panics(kind in proptest::collection::vec(0x20_u8..0xff, 0..40), id in proptest::collection::vec(0x20_u8..0xff, 0..600)) {
        let mut request = valid();
        let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).unwrap_or(HeaderValue::from_static(""));
        request.headers_mut().insert("landbridge-channel-kind", value(&kind));
        request.headers_mut().insert("landbridge-channel-id", value(&id));
        let _ = ChannelRequest::decode(&request);
    }
}
