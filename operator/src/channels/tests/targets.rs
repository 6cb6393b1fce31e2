//! Where channels may lead.

use super::*;

fn planned(
    options: ChannelOptions,
    services: &[(ServiceKey, Option<ServiceFacts>)],
    resource: Declared,
) -> PlannedChannel {
    let mut table = Channels::new(options, Managed::All);
    for (key, facts) in services {
        table.set_service(key, facts.clone());
    }
    table.services_listed();
    table.set_leading(true, at(0));
    table.set(resource, at(0));
    plan_one(&mut table, 0)
}

fn to(name: &str, port: Value) -> Declared {
    channel(
        "c",
        0,
        json!({"type": "TCP", "serviceId": "s", "serviceRef": {"name": name, "port": port}}),
    )
}

#[test]
fn services_are_resolved_by_name_or_number_of_their_ports() {
    let services = [
        service(
            "web",
            json!({"clusterIP": "10.0.0.1", "ports": [
            {"name": "http", "port": 80, "targetPort": 8080},
            {"name": "dns", "port": 53, "protocol": "UDP"}]}),
        ),
        service(
            "pods",
            json!({"clusterIP": "None", "ports": [
            {"name": "a", "port": 80, "targetPort": 9090}, {"name": "b", "port": 81, "targetPort": "named"},
            {"name": "c", "port": 82}]}),
        ),
        service(
            "out",
            json!({"type": "ExternalName", "externalName": "example.com", "ports": [{"port": 80}]}),
        ),
    ];
    let cases = [
        ("web", json!(80), Ok("web.shop.svc:80")),
        ("web", json!("http"), Ok("web.shop.svc:80")),
        (
            "web",
            json!(8080),
            Err("RefNotFound: the Service web has no TCP port 8080: it has 80 (http)"),
        ),
        (
            "web",
            json!("80"),
            Err(
                "RefNotFound: the Service web has no TCP port \"80\": it has 80 (http), a number is written without quotes",
            ),
        ),
        (
            "web",
            json!("dns"),
            Err("RefNotFound: the Service web has no TCP port \"dns\""),
        ),
        (
            "web",
            json!(53),
            Err("RefNotFound: the Service web has no TCP port 53"),
        ),
        (
            "gone",
            json!(80),
            Err("RefNotFound: the namespace shop has no Service gone: create it"),
        ),
        ("pods", json!("a"), Ok("pods.shop.svc:9090")),
        (
            "pods",
            json!(81),
            Err("ServiceNotSupported: the Service pods is headless"),
        ),
        ("pods", json!(82), Ok("pods.shop.svc:82")),
        (
            "out",
            json!(80),
            Err("ServiceNotSupported: the Service out is an ExternalName"),
        ),
    ];
    for (name, port, expected) in cases {
        let planned = planned(ChannelOptions::default(), &services, to(name, port.clone()));
        match expected {
            Ok(address) => {
                assert_eq!(planned.status.address.as_deref(), Some(address), "{name} {port}");
                assert_eq!(planned.route.unwrap().address, address);
            }
            Err(expected) => {
                let condition = &planned.status.conditions[1];
                assert_eq!(condition.type_, "ResolvedRefs");
                let text = format!("{}: {}", condition.reason, condition.message);
                assert!(text.starts_with(expected), "{text}");
                assert_eq!((planned.route, planned.status.address), (None, None));
            }
        }
    }
}

#[test]
fn a_channel_follows_its_service() {
    let mut table = Channels::new(ChannelOptions::default(), Managed::All);
    table.set_leading(true, at(0));
    table.set(to("web", json!("http")), at(0));
    let planned = plan_one(&mut table, 0);
    assert!(
        summary(&planned).contains("ResolvedRefs=Unknown/Pending Programmed=Unknown/Pending"),
        "{}",
        summary(&planned)
    );
    table.services_listed();
    let planned = plan_one(&mut table, 1);
    assert!(
        summary(&planned).contains("ResolvedRefs=False/RefNotFound Programmed=False/NoRoute"),
        "{}",
        summary(&planned)
    );
    let (key, facts) = web();
    table.set_service(&key, facts.clone());
    let first = plan_one(&mut table, 2);
    assert!(first.route_changed && first.route.is_some());
    table.set_service(&key, facts);
    assert_eq!(table.plan(at(3), 10), [], "nothing new");
    let (_, moved) = service("web", json!({"ports": [{"name": "http", "port": 9999}]}));
    table.set_service(&key, moved);
    assert_eq!(
        plan_one(&mut table, 4).route.unwrap().address,
        "web.shop.svc:9999"
    );
    table.set_service(&key, None);
    assert_eq!(plan_one(&mut table, 5).route, None);
}

#[test]
fn a_channel_of_a_namespace_leads_nowhere_else() {
    let services = [
        web(),
        service(
            "out",
            json!({"type": "ExternalName", "externalName": "db.other.svc", "ports": [{"port": 80}]}),
        ),
    ];
    let address = |address: &str| {
        channel(
            "c",
            0,
            json!({"type": "TCP", "serviceId": "s", "internalAddress": address}),
        )
    };
    let any = || ChannelOptions {
        any_address: true,
        ..ChannelOptions::default()
    };
    let local = || ChannelOptions {
        allow_loopback: true,
        ..ChannelOptions::default()
    };
    let cases = [
        (
            ChannelOptions::default(),
            "web.shop.svc:8080",
            "Accepted=True/Accepted ResolvedRefs=True",
        ),
        (
            ChannelOptions::default(),
            "web.shop.svc.cluster.local:8080",
            "Accepted=True/Accepted ResolvedRefs=True",
        ),
        (
            ChannelOptions::default(),
            "WEB.shop.svc.:8080",
            "Accepted=True/Accepted ResolvedRefs=True",
        ),
        (
            ChannelOptions::default(),
            "web.shop.svc:1",
            "Accepted=True/Accepted ResolvedRefs=False/RefNotFound",
        ),
        (
            ChannelOptions::default(),
            "out.shop.svc:80",
            "Accepted=True/Accepted ResolvedRefs=False/ServiceNotSupported",
        ),
        // shop is a domain of the Internet as well.
        (
            ChannelOptions::default(),
            "web.shop:8080",
            "Accepted=False/AddressNotAllowed",
        ),
        (
            ChannelOptions::default(),
            "web:8080",
            "Accepted=False/AddressNotAllowed",
        ),
        (
            ChannelOptions::default(),
            "web.other.svc:8080",
            "Accepted=False/AddressNotAllowed",
        ),
        (
            ChannelOptions::default(),
            "web.shop.svc.evil.example:8080",
            "Accepted=False/AddressNotAllowed",
        ),
        (
            ChannelOptions::default(),
            "10.0.0.1:443",
            "Accepted=False/AddressNotAllowed",
        ),
        (
            any(),
            "web.other.svc:8080",
            "Accepted=True/Accepted ResolvedRefs=True",
        ),
        (any(), "10.0.0.1:443", "Accepted=True/Accepted ResolvedRefs=True"),
        (any(), "localhost:80", "Accepted=False/AddressNotAllowed"),
        (any(), "127.1:80", "Accepted=False/AddressNotAllowed"),
        (any(), "[::ffff:127.0.0.1]:80", "Accepted=False/AddressNotAllowed"),
        (any(), "0.0.0.0:80", "Accepted=False/AddressNotAllowed"),
        (any(), "169.254.169.254:80", "Accepted=False/AddressNotAllowed"),
        (any(), "[fe80::1]:80", "Accepted=False/AddressNotAllowed"),
        (
            local(),
            "127.0.0.1:80",
            "Accepted=True/Accepted ResolvedRefs=True",
        ),
    ];
    for (options, target, expected) in cases {
        let planned = planned(options, &services, address(target));
        assert!(
            summary(&planned).starts_with(expected),
            "{target}: {}",
            summary(&planned)
        );
        assert_eq!(
            planned.route.is_some(),
            expected.ends_with("ResolvedRefs=True"),
            "{target}"
        );
    }
}

#[test]
fn a_mapping_leads_anywhere_but_to_the_proxy_itself() {
    for (target, good) in [
        ("web.other.svc:80", true),
        ("db:5432", true),
        ("10.0.0.1:443", true),
        ("localhost:80", false),
        ("169.254.169.254:80", false),
    ] {
        let resource = mapping(
            "m",
            0,
            json!({"type": "TCP", "serviceId": "s", "internalAddress": target}),
        );
        let planned = planned(ChannelOptions::default(), &[], resource);
        assert_eq!(
            planned.route.map(|route| route.address.clone()),
            good.then(|| target.to_owned())
        );
    }
}
