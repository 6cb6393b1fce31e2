use landbridge_destination::channel::ConnectorSide;

use super::*;

fn channel(name: &str, id: &str, change: impl FnOnce(&mut Channel)) -> Arc<Channel> {
    let mut channel = Channel {
        key: key(name),
        kind: ChannelKind::Tcp,
        service_id: id.into(),
        subaccount: Some("acme".into()),
        tenant: None,
        location_ids: vec![String::new()],
        address: "web.shop.svc:80".into(),
        connector: None,
        generation: 1,
    };
    change(&mut channel);
    Arc::new(channel)
}

fn key(name: &str) -> ChannelKey {
    ChannelKey {
        namespace: Some("shop".into()),
        name: name.into(),
    }
}

fn side(enabled: bool) -> Option<ConnectorSide> {
    Some(ConnectorSide {
        local_port: 8080,
        connections: 2,
        enabled,
    })
}

fn table() -> Table {
    Table::new(&[
        channel("web", "web", |_| {}),
        channel("hq", "hq", |one| {
            one.location_ids = vec!["hq".into(), String::new()]
        }),
        channel("plant", "plant", |one| one.location_ids = vec!["plant".into()]),
        channel("unlisted", "unlisted", |one| one.location_ids = vec![]),
        channel("off", "off", |one| one.connector = side(false)),
        channel("db", "Space:DB:1", |one| {
            one.kind = ChannelKind::Hana;
            one.connector = side(true);
        }),
        channel("both-tcp", "both", |_| {}),
        channel("both-rfc", "both", |one| one.kind = ChannelKind::Rfc),
        channel("theirs", "theirs", |one| one.subaccount = Some("other".into())),
        channel("anyone", "anyone", |one| one.subaccount = None),
    ])
}

fn asker<'a>(tenant: &'a str, location: &'a str) -> Asker<'a> {
    Asker {
        tenant,
        location,
        dedicated: Some("home"),
    }
}

fn name(kind: &str, id: &str) -> ChannelName {
    ChannelName::new(kind, id).unwrap()
}

#[test]
fn nothing_is_open_that_is_not_exposed_to_this_subaccount_and_location() {
    let table = table();
    // tenant, location, kind, id: the resource, or what the refusal says
    let cases = [
        ("acme", "", "TCP", "web", Ok("web")),
        ("acme", "", "K8S", "web", Ok("web")),
        ("acme", "", "RFC", "web", Err("but one of the kind TCP")),
        ("acme", "", "TCP", "WEB", Err("but \"web\"")),
        (
            "acme",
            "hq",
            "TCP",
            "web",
            Err("not exposed to the location \"hq\""),
        ),
        ("acme", "hq", "TCP", "hq", Ok("hq")),
        ("acme", "", "TCP", "hq", Ok("hq")),
        (
            "acme",
            "",
            "TCP",
            "plant",
            Err("not exposed to the default location; add that location to the locationIds of shop/plant"),
        ),
        ("acme", "", "TCP", "unlisted", Ok("unlisted")),
        ("acme", "hq", "TCP", "unlisted", Err("not exposed")),
        ("acme", "", "TCP", "off", Err("connector.enabled of shop/off")),
        ("acme", "", "HANA", "Space:DB:1", Ok("db")),
        ("acme", "", "HANA", "space:db:1", Err("but \"Space:DB:1\"")),
        ("acme", "", "TCP", "both", Ok("both-tcp")),
        ("acme", "", "RFC", "both", Ok("both-rfc")),
        ("acme", "", "K8S", "both", Err("RFC and TCP; name the kind")),
        ("acme", "", "HANA", "both", Err("but one of the kind RFC and TCP")),
        ("acme", "", "TCP", "theirs", Err("declare a ServiceChannel")),
        ("other", "", "TCP", "theirs", Ok("theirs")),
        ("other", "", "TCP", "web", Err("exposes no service \"web\"")),
        // Without a subaccount: the dedicated one alone.
        ("home", "", "TCP", "anyone", Ok("anyone")),
        ("acme", "", "TCP", "anyone", Err("exposes no service")),
        ("", "", "TCP", "anyone", Err("exposes no service")),
    ];
    for (tenant, location, kind, id, expected) in cases {
        let found = table.admit(asker(tenant, location), &name(kind, id));
        let what = format!("{tenant}/{location} {kind} {id}: {found:?}");
        match (found, expected) {
            (Ok(channel), Ok(expected)) => assert_eq!(channel.key, key(expected), "{what}"),
            (Err(refusal), Err(words)) => {
                assert!(refusal.to_string().contains(words), "{what}: {refusal}");
                assert!(
                    !refusal.to_string().contains("theirs\" of the kind TCP and"),
                    "{what}"
                );
            }
            _ => panic!("{what}"),
        }
    }
    let nobody = Asker {
        dedicated: None,
        ..asker("home", "")
    };
    assert!(table.admit(nobody, &name("TCP", "anyone")).is_err());
    assert_eq!(table.without_tenant(), 1);
}

#[test]
fn connectors_are_told_their_own_channels_in_order() {
    let table = table();
    let told = |tenant, location| -> Vec<String> {
        let offered = table.offered(asker(tenant, location));
        offered.iter().map(|one| one.name.to_string()).collect()
    };
    assert_eq!(
        told("acme", ""),
        [
            "HANA \"Space:DB:1\"",
            "RFC \"both\"",
            "TCP \"both\"",
            "TCP \"hq\"",
            "TCP \"off\"",
            "TCP \"unlisted\"",
            "TCP \"web\""
        ]
    );
    assert_eq!(told("acme", "plant"), ["TCP \"plant\""]);
    assert_eq!(told("home", ""), ["TCP \"anyone\""]);
    assert!(told("nobody", "").is_empty());
    let offered = table.offered(asker("acme", ""));
    let local = |id: &str| offered.iter().find(|one| one.name.id() == id).unwrap().local;
    assert_eq!(local("web"), None);
    assert_eq!(local("off").map(|side| side.enabled), Some(false));
    assert_eq!(
        local("Space:DB:1").map(|side| (side.port, side.connections, side.enabled)),
        Some((8080, 2, true))
    );
}

#[test]
fn only_what_a_connector_may_open_counts_as_held() {
    let table = table();
    let own = [
        name("K8S", "web"),
        name("TCP", "off"),
        name("TCP", "theirs"),
        name("TCP", "hq"),
    ];
    let far = [name("TCP", "hq"), name("TCP", "web")];
    let held = [
        (asker("acme", ""), &own[..]),
        (asker("acme", ""), &own[..1]),
        (asker("acme", "hq"), &far[..]),
    ];
    let holders = table.holders(held.into_iter());
    assert_eq!(
        holders.len(),
        table.all().len(),
        "those that nobody holds are told, too"
    );
    assert_eq!(holders[&key("web")], [""]);
    assert_eq!(holders[&key("hq")], ["", "hq"]);
    for nobody in ["off", "theirs", "plant", "anyone"] {
        assert!(holders[&key(nobody)].is_empty(), "{nobody}");
    }
}
