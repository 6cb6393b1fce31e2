use super::*;
use tokio::net::TcpListener;

#[test]
fn families_alternate() {
    let list = |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|t| t.parse().unwrap()).collect() };
    assert_eq!(
        interleave(list(&["192.0.2.1", "192.0.2.2", "2001:db8::1"])),
        list(&["2001:db8::1", "192.0.2.1", "192.0.2.2"])
    );
}

#[tokio::test]
async fn connects_by_name_and_refuses_by_policy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialer = Dialer::new(AddressPolicy::Any).unwrap();
    dialer
        .connect("localhost", port, Duration::from_secs(20))
        .await
        .unwrap();
    dialer
        .connect("127.0.0.1", port, Duration::from_secs(20))
        .await
        .unwrap();
    let strict = dialer.with_policy(AddressPolicy::NoLocal);
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let error = strict
            .connect(host, port, Duration::from_secs(20))
            .await
            .unwrap_err();
        assert!(matches!(error, DialError::Forbidden { .. }), "{host}: {error}");
    }
}

#[tokio::test]
async fn a_closed_port_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let dialer = Dialer::new(AddressPolicy::Any).unwrap();
    let error = dialer
        .connect("127.0.0.1", port, Duration::from_secs(20))
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Connect { .. }), "{error}");
    assert!(!error.is_timeout());
}

#[tokio::test]
async fn a_silent_name_server_is_a_deadline_of_its_own() {
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let mut connection = ConnectionConfig::udp();
    connection.port = address.port();
    let config = ResolverConfig::from_parts(
        None,
        Vec::new(),
        vec![NameServerConfig::new(address.ip(), true, vec![connection])],
    );
    let dialer = Dialer {
        names: Arc::new(Names::new(config, ResolverOpts::default()).unwrap()),
        policy: AddressPolicy::Any,
    };
    let error = dialer
        .connect("db.test", 80, Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(
        matches!(error, DialError::ResolveTimeout { seconds: 1, .. }),
        "{error}"
    );
    assert!(error.is_timeout());
    assert!(
        error.to_string().contains("name resolution of db.test"),
        "{error}"
    );
}
