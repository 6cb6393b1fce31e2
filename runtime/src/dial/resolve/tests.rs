use super::*;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{RData, Record};
use tokio::net::UdpSocket;

/// What the name server does with a question.
#[derive(Clone, Copy)]
enum Behaviour {
    Address(&'static str),
    Silent,
}

/// Names that look up at a server with these answers; it says of everything else that there is nothing.
async fn names(
    search: &[&str],
    zone: &'static [(&'static str, RecordType, Behaviour)],
    timeout: Duration,
) -> Names {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..length]).unwrap();
            if let Some(answer) = answer(question, zone) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    let mut connection = ConnectionConfig::udp();
    connection.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![connection]);
    let search = search
        .iter()
        .map(|domain| Name::from_ascii(domain).unwrap())
        .collect();
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.attempts = 1;
    Names::new(ResolverConfig::from_parts(None, search, vec![server]), options).unwrap()
}

fn answer(question: Message, zone: &[(&str, RecordType, Behaviour)]) -> Option<Vec<u8>> {
    let query = question.queries[0].clone();
    let asked = (query.name().to_ascii(), query.query_type());
    let known = zone
        .iter()
        .find(|(name, family, _)| (*name, *family) == (asked.0.as_str(), asked.1));
    let mut answer = question.into_response();
    match known.map(|(_, _, behaviour)| behaviour) {
        Some(Behaviour::Silent) => return None,
        Some(Behaviour::Address(address)) => {
            let data: RData = address.parse::<IpAddr>().unwrap().into();
            answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
        }
        None => {}
    }
    Some(answer.to_vec().unwrap())
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// So long that a test which waits for it fails by its own limit.
const FOREVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_unanswered_family_does_not_hold_the_other_one_back() {
    use Behaviour::{Address, Silent};
    for (zone, expected) in [
        (
            &[
                ("db.test.", RecordType::A, Address("192.0.2.1")),
                ("db.test.", RecordType::AAAA, Silent),
            ],
            "192.0.2.1",
        ),
        (
            &[
                ("db.test.", RecordType::A, Silent),
                ("db.test.", RecordType::AAAA, Address("2001:db8::1")),
            ],
            "2001:db8::1",
        ),
    ] {
        let names = names(&[], zone, FOREVER).await;
        let found = tokio::time::timeout(Duration::from_secs(60), names.look_up("db.test")).await;
        assert_eq!(found.expect("waits for both").unwrap(), addresses(&[expected]));
    }
}

#[tokio::test]
async fn both_families_of_one_candidate_are_taken() {
    // The machine of one.test has no IPv6 address; that of two.test is another machine.
    let zone = &[
        ("db.one.test.", RecordType::A, Behaviour::Address("192.0.2.1")),
        ("db.two.test.", RecordType::A, Behaviour::Address("192.0.2.2")),
        (
            "db.two.test.",
            RecordType::AAAA,
            Behaviour::Address("2001:db8::2"),
        ),
    ];
    let names = names(&["one.test.", "two.test."], zone, FOREVER).await;
    assert_eq!(names.look_up("db").await.unwrap(), addresses(&["192.0.2.1"]));
    let mut second = names.look_up("db.two.test").await.unwrap();
    second.sort();
    assert_eq!(second, addresses(&["192.0.2.2", "2001:db8::2"]));
}

#[tokio::test]
async fn silence_is_told_from_an_unknown_name() {
    let zone = &[
        ("dead.test.", RecordType::A, Behaviour::Silent),
        ("dead.test.", RecordType::AAAA, Behaviour::Silent),
        ("half.test.", RecordType::A, Behaviour::Silent),
    ];
    let names = names(&[], zone, Duration::from_millis(500)).await;
    for (name, timeout) in [("dead.test", true), ("half.test", true), ("unknown.test", false)] {
        let error = names.look_up(name).await.unwrap_err();
        assert_eq!(
            matches!(error, LookupError::Timeout),
            timeout,
            "{name}: {error:?}"
        );
    }
}

#[test]
fn the_search_list_follows_the_dots() {
    let search: Vec<Name> = ["a.test.", "b.test.", "a.test."]
        .map(|domain| Name::from_ascii(domain).unwrap())
        .to_vec();
    for (name, ndots, expected) in [
        ("db", 1, &["db.a.test.", "db.b.test.", "db."][..]),
        ("db.x", 1, &["db.x.", "db.x.a.test.", "db.x.b.test."]),
        ("db.x", 5, &["db.x.a.test.", "db.x.b.test.", "db.x."]),
        ("db.x.", 5, &["db.x."]),
        (
            "localhost",
            5,
            &["localhost.", "localhost.a.test.", "localhost.b.test."],
        ),
    ] {
        let name = name.into_name().unwrap();
        let list: Vec<String> = candidates(&name, &search, ndots)
            .iter()
            .map(Name::to_ascii)
            .collect();
        assert_eq!(list, expected, "{name} with {ndots}");
    }
}
