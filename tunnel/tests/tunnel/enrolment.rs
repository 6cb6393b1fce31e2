//! Who gets a certificate, and what can be done without one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Cluster, echo_once, eventually, network, patient};
use landbridge_tunnel::enrol::{EnrolError, IdentityFiles, enrol};
use landbridge_tunnel::hello::{AcceptorHello, ConnectorHello};
use landbridge_tunnel::tls::{ALPN_ENROL, ALPN_TUNNEL};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gives_an_identity_once() {
    let cluster = Cluster::start().await;
    let token = cluster.token("c1");
    let dir = tempfile::tempdir().unwrap();
    let identity = IdentityFiles::new(dir.path().join("deep/identity"));
    assert!(!identity.exist());
    enrol(&network(), &cluster.server(), "127.0.0.1", &token, &identity)
        .await
        .unwrap();
    assert!(identity.exist());
    for path in [identity.key(), identity.certificate(), identity.authority()] {
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{path:?}"
        );
    }
    let before = fs::read(identity.certificate()).unwrap();

    // Replay, also after a restart of the acceptor.
    let other = IdentityFiles::new(dir.path().join("other"));
    let error = enrol(&network(), &cluster.server(), "127.0.0.1", &token, &other)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, EnrolError::Refused(text) if text.contains("ask for a new token")),
        "{error}"
    );
    let server = cluster.server();
    let (state, address) = cluster.kill().await;
    let cluster = Cluster::start_with(state, address, |_| {}).await;
    let error = enrol(&network(), &server, "127.0.0.1", &token, &other)
        .await
        .unwrap_err();
    assert!(matches!(error, EnrolError::Refused(_)), "{error}");
    assert!(!other.exist());
    assert_eq!(fs::read(identity.certificate()).unwrap(), before);
    cluster.shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_unknown_and_wrong_tokens_get_the_same_answer() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let identity = IdentityFiles::new(dir.path().join("identity"));
    let text = |connector: &str| secrecy::ExposeSecret::expose_secret(&cluster.token(connector)).to_owned();

    let expired = text("expired");
    let id = expired.split('.').nth(1).unwrap();
    let file = cluster.dir.path().join("tokens").join(format!("{id}.json"));
    let mut stored: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    stored["expires"] = 1.into();
    fs::write(&file, stored.to_string()).unwrap();

    let good = text("good");
    let parts: Vec<&str> = good.split('.').collect();
    let unknown = format!("lbe1.AAAAAAAAAAAA.{}.{}", parts[2], parts[3]);
    let wrong = format!("lbe1.{}.AAAA{}.{}", parts[1], &parts[2][4..], parts[3]);
    let mut answers = Vec::new();
    for token in [expired, unknown, wrong] {
        let error = enrol(
            &network(),
            &cluster.server(),
            "127.0.0.1",
            &token.into(),
            &identity,
        )
        .await
        .unwrap_err();
        assert!(matches!(error, EnrolError::Refused(_)), "{error}");
        answers.push(error.to_string());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // A wrong secret has not used the token up.
    enrol(
        &network(),
        &cluster.server(),
        "127.0.0.1",
        &good.into(),
        &identity,
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_told_from_what_does_not() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let identity = IdentityFiles::new(dir.path().join("identity"));
    let token = cluster.token("c1");
    // Somebody who accepts and closes, as a load balancer without an acceptor does.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let nobody = landbridge_tunnel::dialer::ServerAddress {
        host: address.ip().to_string(),
        port: address.port(),
    };
    let error = enrol(&network(), &nobody, "127.0.0.1", &token, &identity)
        .await
        .unwrap_err();
    assert!(
        matches!(error, EnrolError::Tls(_)) && error.is_passing(),
        "{error:?}"
    );
    // Another name than the acceptor's stays wrong.
    let error = enrol(
        &network(),
        &cluster.server(),
        "other.example.com",
        &token,
        &identity,
    )
    .await
    .unwrap_err();
    assert!(
        matches!(error, EnrolError::Tls(_)) && !error.is_passing(),
        "{error:?}"
    );
    // Many wrong tokens: at last the limit answers, and says so.
    let text = secrecy::ExposeSecret::expose_secret(&token).to_owned();
    let parts: Vec<&str> = text.split('.').collect();
    let wrong = format!("lbe1.{}.AAAA{}.{}", parts[1], &parts[2][4..], parts[3]);
    let limited = patient("the limit", async {
        loop {
            let server = cluster.server();
            let wrong = wrong.clone().into();
            let error = enrol(&network(), &server, "127.0.0.1", &wrong, &identity)
                .await
                .unwrap_err();
            if !matches!(error, EnrolError::Refused(_)) {
                break error;
            }
        }
    })
    .await;
    assert!(matches!(limited, EnrolError::Later(_)), "{limited:?}");
    assert!(limited.is_passing() && limited.to_string().contains("try again later"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_talks_only_to_the_authority_of_its_token() {
    let (right, wrong) = (Cluster::start().await, Cluster::start().await);
    let dir = tempfile::tempdir().unwrap();
    let identity = IdentityFiles::new(dir.path().join("identity"));
    let token = right.token("c1");
    let error = enrol(&network(), &wrong.server(), "127.0.0.1", &token, &identity)
        .await
        .unwrap_err();
    assert!(matches!(error, EnrolError::Tls(_)), "{error}");
    // Neither under a name that is not in the certificate.
    let error = enrol(
        &network(),
        &right.server(),
        "tunnel.example.com",
        &token,
        &identity,
    )
    .await
    .unwrap_err();
    assert!(matches!(error, EnrolError::Tls(_)), "{error}");
    // The token was not spent on either of them.
    enrol(&network(), &right.server(), "127.0.0.1", &token, &identity)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused_both_ways() {
    let (home, foreign) = (Cluster::start().await, Cluster::start().await);
    let mut site = home.enrol("c1").await;
    // The connector's own trust refuses the foreign acceptor.
    site.server = foreign.server();
    let company = site.start(|_| {});
    let status = company.status.clone();
    eventually("the dialer reports the refusal", || {
        format!("{:?}", status.borrow()).contains("TLS failed")
    })
    .await;
    assert!(foreign.registry.is_empty());
    company.shutdown.drain(Duration::from_secs(5)).await;

    // With that trust removed, the acceptor refuses the foreign certificate.
    let foreign_site = foreign.enrol("c1").await;
    fs::copy(foreign_site.identity.join("ca.pem"), site.identity.join("ca.pem")).unwrap();
    let company = site.start(|config| config.connections = 1);
    let status = company.status.clone();
    eventually("the dialer reports the refusal", || {
        let text = format!("{:?}", status.borrow());
        text.contains("did not accept") || text.contains("TLS failed")
    })
    .await;
    assert!(foreign.registry.is_empty());
    company.shutdown.drain(Duration::from_secs(5)).await;
}

/// A client that believes everything and may have no certificate.
async fn raw_tls(cluster: &Cluster, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut config = landbridge_runtime::tls::trust_all_client_config(&[alpn]).unwrap();
    config.resumption = rustls::client::Resumption::disabled();
    let socket = TcpStream::connect(cluster.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
        .unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_there_is_no_tunnel() {
    let cluster = Cluster::start().await;
    let mut tls = raw_tls(&cluster, ALPN_TUNNEL).await;
    let hello = br#"{"version":1,"kind":"inbound","location":""}"#;
    let _ = tls.write_all(&framed(hello)).await;
    let mut answer = Vec::new();
    let _ = patient("the acceptor to close", tls.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "{answer:?}");
    assert!(cluster.registry.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_closed_and_the_acceptor_goes_on() {
    let cluster = Cluster::start().await;
    let site = cluster.enrol("c1").await;
    // Before TLS.
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 70_000],
        &[0x16, 0x03, 0x01, 0xff, 0xff],
        &[0xff; 100],
    ] {
        let mut socket = TcpStream::connect(cluster.address).await.unwrap();
        let _ = socket.write_all(garbage).await;
        let _ = socket.shutdown().await;
        let _ = patient("the acceptor to close", socket.read_to_end(&mut Vec::new())).await;
    }
    // After TLS, on the enrolment protocol.
    for message in [
        b"not json".to_vec(),
        b"{}".to_vec(),
        br#"{"version":9,"token":"../ca","secret":"x","csr":"x"}"#.to_vec(),
    ] {
        let mut tls = raw_tls(&cluster, ALPN_ENROL).await;
        tls.write_all(&framed(&message)).await.unwrap();
        let mut answer = Vec::new();
        let _ = patient("the refusal", tls.read_to_end(&mut answer)).await;
        assert!(String::from_utf8_lossy(&answer).contains("refused"), "{answer:?}");
    }
    let mut tls = raw_tls(&cluster, ALPN_ENROL).await;
    tls.write_all(&[0xff, 0xff, 0, 0]).await.unwrap();
    let mut answer = Vec::new();
    let _ = patient("the acceptor to close", tls.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "an oversized message is not even answered");
    // All of that did not hurt.
    let company = site.start(|_| {});
    cluster.connected(2).await;
    echo_once(&cluster.registry, b"still here").await;
    company.shutdown.drain(Duration::from_secs(5)).await;
}

/// Somebody with a valid certificate who does not follow the protocol.
async fn verified_tls(site: &crate::support::Site) -> TlsStream<TcpStream> {
    let identity = IdentityFiles::new(&site.identity).load().unwrap();
    let socket = TcpStream::connect((site.server.host.as_str(), site.server.port))
        .await
        .unwrap();
    let name = ServerName::try_from(site.server.host.clone()).unwrap();
    TlsConnector::from(identity.tls)
        .connect(name, socket)
        .await
        .unwrap()
}

async fn hello_answer(site: &crate::support::Site, message: &[u8]) -> Vec<u8> {
    let mut tls = verified_tls(site).await;
    tls.write_all(message).await.unwrap();
    let mut answer = Vec::new();
    let _ = patient("the answer", tls.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_hello_is_refused_with_its_reason() {
    let cluster = Cluster::start().await;
    let site = cluster.enrol("c1").await;
    for (message, reason) in [
        (&b"hello?"[..], "bad-hello"),
        (br#"{"version":7}"#, "unsupported-version"),
        (br#"{"version":1,"kind":"sideways"}"#, "unsupported-kind"),
        (
            br#"{"version":1,"kind":"inbound","location":"../x"}"#,
            "bad-hello",
        ),
    ] {
        let answer = hello_answer(&site, &framed(message)).await;
        let answer: AcceptorHello = serde_json::from_slice(&answer[2..]).unwrap();
        assert!(!answer.accepted);
        assert_eq!(answer.reason.as_deref(), Some(reason));
    }
    // Larger than 4 KiB: closed without reading it.
    assert!(hello_answer(&site, &framed(&vec![b' '; 4097])).await.is_empty());
    // HTTP/2 without a hello.
    assert!(
        hello_answer(&site, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .is_empty()
    );
    assert!(cluster.registry.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_bound_to_a_location_serves_no_other() {
    use landbridge_tunnel::PeerIdentity;
    use landbridge_tunnel::enrol::{NewToken, create_token};
    let cluster = Cluster::start().await;
    let identity = PeerIdentity::new("acme", "c1", Some("hq")).unwrap();
    let token = create_token(
        cluster.dir.path(),
        &NewToken {
            identity,
            ttl: Duration::from_secs(60),
        },
    )
    .unwrap();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let files = IdentityFiles::new(dir.path());
    enrol(&network(), &cluster.server(), "127.0.0.1", &token, &files)
        .await
        .unwrap();
    let site = crate::support::Site {
        identity: dir.path().to_owned(),
        _dir: dir,
        server: cluster.server(),
    };
    let hello = |location: &str| ConnectorHello {
        version: 1,
        kind: "inbound".to_owned(),
        location: location.to_owned(),
        agent: String::new(),
        max_streams: 0,
        instance: String::new(),
        slot: 0,
        avoid: Vec::new(),
    };
    let answer = hello_answer(&site, &framed(&serde_json::to_vec(&hello("branch")).unwrap())).await;
    let answer: AcceptorHello = serde_json::from_slice(&answer[2..]).unwrap();
    assert_eq!(answer.reason.as_deref(), Some("denied-location"));
    let company = site.start(|config| config.location = "hq".to_owned());
    cluster.connected(2).await;
    assert!(cluster.registry.is_connected("acme", "hq") && !cluster.registry.is_connected("acme", ""));
    company.shutdown.drain(Duration::from_secs(5)).await;
}
