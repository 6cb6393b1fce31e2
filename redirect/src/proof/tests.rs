use std::io::ErrorKind;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

async fn answering(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(&answer).await;
        }
    });
    address
}

#[tokio::test]
async fn only_the_own_token_is_a_proof() {
    let token = Token::random();
    let other = Token::random();
    assert_ne!(token.bytes(), other.bytes());
    for (answer, proof) in [
        (token.bytes().to_vec(), Ok(())),
        ([&token.bytes()[..], b"and more"].concat(), Ok(())),
        (other.bytes().to_vec(), Err("did not know the token")),
        (token.bytes()[..31].to_vec(), Err("did not know the token")),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Err("did not know the token"),
        ),
        (Vec::new(), Err("without an answer")),
    ] {
        let address = answering(answer.clone()).await;
        match (prove_at(&token, &[address], DEADLINE).await, proof) {
            (Ok(proven), Ok(())) => assert_eq!(proven.families, [Family::V4]),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{answer:?}: {error}"),
            (found, _) => panic!("{answer:?}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn nobody_there_or_nobody_answering_is_no_proof() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    let error = prove_at(&Token::random(), &[silent], Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, ProofError::NotRedirected { .. }), "{error}");
    drop(listener);
    let error = prove_at(&Token::random(), &[silent], DEADLINE).await.unwrap_err();
    assert!(error.to_string().contains("landbridge redirect show"), "{error}");
    let none = prove_at(&Token::random(), &[], DEADLINE).await.unwrap_err();
    assert!(matches!(none, ProofError::NoRoute), "{none}");
}

#[test]
fn families_without_a_route_are_told_from_refusals() {
    let (v4, v6) = (PROOF_ADDRESSES[0].ip(), PROOF_ADDRESSES[1].ip());
    for (kind, ip, skipped) in [
        (ErrorKind::NetworkUnreachable, v4, true),
        (ErrorKind::NetworkUnreachable, v6, true),
        (ErrorKind::AddrNotAvailable, v6, true),
        (ErrorKind::PermissionDenied, v6, true),
        (ErrorKind::PermissionDenied, v4, false),
        (ErrorKind::ConnectionRefused, v4, false),
        (ErrorKind::HostUnreachable, v4, false),
        (ErrorKind::TimedOut, v6, false),
    ] {
        assert_eq!(no_route(&io::Error::from(kind), ip), skipped, "{kind} {ip}");
    }
    assert!(no_route(&io::Error::from_raw_os_error(97), v6));
}

#[test]
fn proof_addresses_are_known_in_both_notations() {
    assert!(is_proof("192.0.2.2:20413".parse().unwrap()));
    assert!(is_proof("[::ffff:192.0.2.2]:20413".parse().unwrap()));
    assert!(is_proof("[2001:db8::2]:20413".parse().unwrap()));
    assert!(!is_proof("192.0.2.2:80".parse().unwrap()));
    assert_eq!(format!("{:?}", Token::random()), "Token(..)");
}
