use super::*;

/// What the scanner says of a stream given whole, and given byte by byte.
fn find(stream: &str) -> Finding {
    let whole = Scanner::default().scan(stream.as_bytes());
    let mut slow = Scanner::default();
    let bytewise = stream
        .as_bytes()
        .iter()
        .map(|byte| slow.scan(&[*byte]))
        .find(|found| *found != Finding::Nothing);
    assert_eq!(
        whole,
        bytewise.unwrap_or(Finding::Nothing),
        "pieces must not matter: {stream:?}"
    );
    whole
}

/// The number of the ambiguous request.
fn verdict(stream: &str) -> Option<u64> {
    match find(stream) {
        Finding::Objection(index, Objection::Ambiguous) => Some(index),
        Finding::Nothing => None,
        other => panic!("{other:?} for {stream:?}"),
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn clear_requests_pass() {
    for stream in [
        GET.to_owned(),
        GET.repeat(5),
        format!("\r\n{GET}"),
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello{GET}"),
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n{GET}"
        ),
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nx-t: 1\r\ny: 2\r\n\r\n{GET}"
        ),
        // A body may look like anything.
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 58\r\n\r\nPOST / HTTP/1.1\nhost: a\ncontent-length: 1\nte: chunked\n\nxxxx{GET}"
        ),
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nany\nthing\r\n\r\nat: all\n\n"
            .to_owned(),
    ] {
        assert_eq!(verdict(&stream), None, "{stream:?}");
    }
}

#[test]
fn ambiguous_heads_are_named_by_their_number() {
    let ambiguous = [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
    ];
    for head in ambiguous {
        assert_eq!(verdict(head), Some(0), "{head:?}");
        assert_eq!(verdict(&format!("{GET}{head}")), Some(1), "{head:?}");
        let after_chunks = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{GET}{head}"
        );
        assert_eq!(verdict(&after_chunks), Some(2), "{head:?}");
    }
}

#[test]
fn an_upgrade_that_is_not_granted_hides_nothing() {
    let ambiguous = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(
        verdict(&format!(
            "GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\n\r\n{ambiguous}"
        )),
        Some(1)
    );
    assert_eq!(
        verdict(&format!("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n{ambiguous}")),
        Some(1)
    );
}

#[test]
fn chunks_that_can_be_read_differently_break_the_connection() {
    let post = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in [
        "0\r\n\n".to_owned(),
        "0\r\nx: y\n\r\n".to_owned(),
        "xyz\r\n".to_owned(),
        "00000000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
        format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(2000)),
    ] {
        assert_eq!(find(&format!("{post}{body}")), Finding::BrokenBody, "{body:?}");
    }
}

#[test]
fn garbage_is_left_to_the_library() {
    assert_eq!(verdict("\0\u{1}garbage\r\n\r\n"), None);
}

#[test]
fn endless_heads_are_too_long_in_pieces_and_at_once() {
    let mut scanner = Scanner::default();
    let finding = (0..=MAX_HEAD)
        .map(|_| scanner.scan(b"G"))
        .find(|found| *found != Finding::Nothing);
    assert_eq!(finding, Some(Finding::Objection(0, Objection::TooLong)));
    assert!(scanner.partial.is_empty() && matches!(scanner.position, Position::Done));
    let head = format!(
        "{GET}GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(MAX_HEAD)
    );
    assert_eq!(
        Scanner::default().scan(head.as_bytes()),
        Finding::Objection(1, Objection::TooLong)
    );
}

#[test]
fn verdicts_are_per_request() {
    let (_, verdict) = HeadGuard::new(());
    assert_eq!(verdict.objection(0), None);
    verdict.object((3, Objection::Ambiguous));
    assert_eq!(
        (verdict.objection(2), verdict.objection(3)),
        (None, Some(Objection::Ambiguous))
    );
    verdict.object((4, Objection::TooLong));
    assert_eq!(
        (verdict.objection(3), verdict.objection(4)),
        (None, Some(Objection::TooLong))
    );
}
