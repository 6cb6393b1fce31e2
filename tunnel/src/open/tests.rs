use http::{Request, Response, Uri};
use proptest::prelude::*;

use super::wire::{DEADLINE, PRINCIPAL, PROTOCOL, REQUEST_ID, TRACEPARENT, VERSION};
use super::*;

fn valid() -> Request<()> {
    OpenRequest::new("Backend.corp", 1234, Protocol::Http)
        .unwrap()
        .with_deadline(Duration::from_millis(2500))
        .with_request_id("req-1")
        .unwrap()
        .with_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .unwrap()
        .encode()
        .unwrap()
}

#[test]
fn writes_the_documented_header() {
    let request = valid();
    assert_eq!(request.method(), Method::CONNECT);
    assert_eq!(request.uri().to_string(), "backend.corp:1234");
    let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap();
    assert_eq!(header("landbridge-version"), "1");
    assert_eq!(header("landbridge-protocol"), "http");
    assert_eq!(header("landbridge-deadline-ms"), "2500");
    assert_eq!(header("landbridge-request-id"), "req-1");
    assert_eq!(request.headers().len(), 5);
}

#[test]
fn refuses_malformed_headers_with_the_right_reason() {
    type Change = fn(&mut Request<()>);
    let set = |request: &mut Request<()>, name: &'static str, value: &'static str| {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    };
    let cases: [(&str, Change, DenyReason); 18] = [
        ("GET", |r| *r.method_mut() = Method::GET, DenyReason::BadOpen),
        (
            "no port",
            |r| *r.uri_mut() = "backend".parse().unwrap(),
            DenyReason::BadOpen,
        ),
        (
            "port 0",
            |r| *r.uri_mut() = "backend:0".parse().unwrap(),
            DenyReason::BadOpen,
        ),
        (
            "port 65536",
            |r| *r.uri_mut() = "backend:65536".parse().unwrap(),
            DenyReason::BadOpen,
        ),
        (
            "user part",
            |r| *r.uri_mut() = "user@backend:80".parse().unwrap(),
            DenyReason::BadOpen,
        ),
        (
            "bad host",
            |r| *r.uri_mut() = "back$end:80".parse().unwrap(),
            DenyReason::BadOpen,
        ),
        (
            "path",
            |r| *r.uri_mut() = "/path".parse().unwrap(),
            DenyReason::BadOpen,
        ),
        (
            "no version",
            |r| {
                r.headers_mut().remove(VERSION);
            },
            DenyReason::BadOpen,
        ),
        (
            "two versions",
            |r| {
                r.headers_mut().append(VERSION, HeaderValue::from_static("1"));
            },
            DenyReason::BadOpen,
        ),
        (
            "no protocol",
            |r| {
                r.headers_mut().remove(PROTOCOL);
            },
            DenyReason::BadOpen,
        ),
        (
            "two ids",
            |r| {
                r.headers_mut().append(REQUEST_ID, HeaderValue::from_static("x"));
            },
            DenyReason::BadOpen,
        ),
        (
            "principal",
            |r| {
                r.headers_mut().append(PRINCIPAL, HeaderValue::from_static("x"));
            },
            DenyReason::BadOpen,
        ),
        (
            "long id",
            |r| {
                drop(
                    r.headers_mut()
                        .insert(REQUEST_ID, HeaderValue::from_str(&"x".repeat(129)).unwrap()),
                )
            },
            DenyReason::BadOpen,
        ),
        (
            "latin-1 id",
            |r| {
                drop(
                    r.headers_mut()
                        .insert(REQUEST_ID, HeaderValue::from_bytes(b"caf\xe9").unwrap()),
                )
            },
            DenyReason::BadOpen,
        ),
        (
            "version 2",
            |r| {
                r.headers_mut().insert(VERSION, HeaderValue::from_static("2"));
            },
            DenyReason::UnsupportedVersion,
        ),
        (
            "empty version",
            |r| {
                r.headers_mut().insert(VERSION, HeaderValue::from_static(""));
            },
            DenyReason::UnsupportedVersion,
        ),
        (
            "long version",
            |r| {
                drop(
                    r.headers_mut()
                        .insert(VERSION, HeaderValue::from_str(&"9".repeat(5000)).unwrap()),
                )
            },
            DenyReason::UnsupportedVersion,
        ),
        (
            "long host",
            |r| *r.uri_mut() = format!("{}:80", "h".repeat(256)).parse().unwrap(),
            DenyReason::BadOpen,
        ),
    ];
    for (name, change, reason) in cases {
        let mut request = valid();
        change(&mut request);
        let error = OpenRequest::decode(&request).expect_err(name);
        assert_eq!(error.reason(), reason, "{name}: {error}");
    }
    for (name, value) in [
        ("landbridge-protocol", "rfc"),
        ("landbridge-protocol", "HTTP"),
        ("landbridge-deadline-ms", ""),
        ("landbridge-deadline-ms", "0"),
        ("landbridge-deadline-ms", "-1"),
        ("landbridge-deadline-ms", "+1"),
        ("landbridge-deadline-ms", "1.5"),
        ("landbridge-deadline-ms", "86400001"),
        ("landbridge-deadline-ms", "99999999999999999999"),
        ("landbridge-request-id", ""),
        ("landbridge-request-id", "a b"),
        ("traceparent", "00-XYZ"),
    ] {
        let mut request = valid();
        set(&mut request, name, value);
        assert!(
            matches!(OpenRequest::decode(&request), Err(BadOpen::Malformed { name: found, .. }) if found == name),
            "{name}: {value}"
        );
    }
}

#[test]
fn ignores_hints_it_does_not_know() {
    let mut request = valid();
    request
        .headers_mut()
        .insert("landbridge-future", HeaderValue::from_static("x"));
    assert!(OpenRequest::decode(&request).is_ok());
}

#[test]
fn denials_survive_the_wire() {
    let text = "Access denied to system virtual:1234: 100 % ä\nnext";
    for reason in DenyReason::ALL {
        let answer = encode_denial(reason, text);
        assert_eq!(answer.status(), reason.status());
        match decode_answer(&answer).unwrap_err() {
            OpenError::Denied {
                reason: found,
                message,
            } => assert_eq!((found, message.as_str()), (reason, text)),
            other => panic!("{other}"),
        }
    }
    assert!(decode_answer(&Response::new(())).is_ok());
    let mut foreign = Response::new(());
    *foreign.status_mut() = StatusCode::IM_A_TEAPOT;
    let error = decode_answer(&foreign).unwrap_err();
    assert!(
        matches!(&error, OpenError::Denied { reason: DenyReason::Internal, message } if message.contains("418"))
    );
}

#[test]
fn long_messages_are_cut() {
    let answer = encode_denial(DenyReason::Internal, &"ö".repeat(10_000));
    let OpenError::Denied { message, .. } = decode_answer(&answer).unwrap_err() else {
        panic!("not a denial")
    };
    assert_eq!(message.chars().count(), MAX_MESSAGE);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        host in "[A-Za-z0-9._-]{1,255}", port in 1..=u16::MAX, http in any::<bool>(),
        millis in proptest::option::of(1..=86_400_000_u64),
        id in proptest::option::of("[!-~]{1,128}"), trace in proptest::option::of("[0-9a-f-]{1,128}"),
    ) {
        let protocol = if http { Protocol::Http } else { Protocol::Tcp };
        let mut request = OpenRequest::new(&host, port, protocol).unwrap();
        if let Some(millis) = millis { request = request.with_deadline(Duration::from_millis(millis)); }
        if let Some(id) = &id { request = request.with_request_id(id).unwrap(); }
        if let Some(trace) = &trace { request = request.with_traceparent(trace).unwrap(); }
        let encoded = request.encode().unwrap();
        prop_assert_eq!(OpenRequest::decode(&encoded).unwrap(), request);
    }

    #[test]
    fn any_header_is_read_or_refused_within_bounds(
        authority in "[ -~]{0,300}",
        headers in proptest::collection::vec((0..6_usize, proptest::collection::vec(any::<u8>(), 0..300)), 0..12),
    ) {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        if let Ok(uri) = Uri::builder().authority(authority).build() { *request.uri_mut() = uri; }
        let names = [VERSION, PROTOCOL, DEADLINE, REQUEST_ID, TRACEPARENT, PRINCIPAL];
        request.headers_mut().insert(VERSION, HeaderValue::from_static("1"));
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) { request.headers_mut().append(&names[name], value); }
        }
        if let Ok(open) = OpenRequest::decode(&request) {
            prop_assert!(open.host().len() <= MAX_HOST && open.port() > 0);
            prop_assert!(open.request_id().is_none_or(|id| id.len() <= MAX_REQUEST_ID));
            prop_assert!(open.deadline().is_none_or(|deadline| deadline <= MAX_DEADLINE));
        }
    }
}
