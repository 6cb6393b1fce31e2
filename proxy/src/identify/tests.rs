use http::HeaderValue;
use landbridge_destination::route::{RouteKey, RouteProtocol, Scope};

use super::*;

fn route(name: &str) -> Route {
    Route {
        key: RouteKey::new("default", "cr"),
        selector: DestinationSelector::named(name),
        protocol: RouteProtocol::Http,
        port: 0,
        scope: Scope::ClusterWide,
        generation: 1,
        frontends: Vec::new(),
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    map
}

fn take(name: &str, pairs: &[(&str, &str)]) -> Result<Control, Failure> {
    take_control(&mut headers(pairs), &route(name))
}

#[test]
fn a_static_route_needs_nothing() {
    assert_eq!(take("erp", &[("accept", "*/*")]).unwrap(), Control::default());
}

#[test]
fn a_gateway_request_names_its_destination() {
    let control = take(
        "*",
        &[
            ("X-Destination-Name", "erp"),
            ("X-Destination-Level", "provider_instance"),
            ("X-Fragment-Name", "eu"),
            ("X-Fragment-Optional", "true"),
            ("X-Tenant-Subdomain", "acme"),
            ("SAP-Connectivity-SCC-Location_ID", "orlando"),
        ],
    )
    .unwrap();
    let selector = control.selector.unwrap();
    assert_eq!(
        (selector.name.as_str(), selector.level),
        ("erp", Some(Level::ProviderInstance))
    );
    assert_eq!(
        selector.fragment,
        Some(FragmentSelector {
            name: "eu".into(),
            level: None,
            optional: true
        })
    );
    assert_eq!(
        (control.tenant.as_deref(), control.location.as_deref()),
        (Some("acme"), Some("orlando"))
    );
}

#[test]
fn control_headers_are_consumed_and_others_are_not() {
    let mut map = headers(&[
        ("x-destination-name", "erp"),
        ("x-client-assertion-type", "t"),
        ("x-user-token", "t"),
        ("x-own", "1"),
        ("sap-language", "de"),
    ]);
    take_control(&mut map, &route("*")).unwrap();
    let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["sap-language", "x-own"]);
}

#[test]
fn chain_headers_override_a_static_route() {
    let mut declared = route("erp");
    declared.selector.chain = Some(ChainSelector {
        name: "c".into(),
        variables: vec![
            ChainVariable {
                name: "userToken".into(),
                value: "old".into(),
            },
            ChainVariable {
                name: "kept".into(),
                value: "k".into(),
            },
        ],
    });
    let mut map = headers(&[("X-Chain-Var-userToken", "new")]);
    let chain = take_control(&mut map, &declared)
        .unwrap()
        .selector
        .unwrap()
        .chain
        .unwrap();
    let pairs: Vec<_> = chain
        .variables
        .iter()
        .map(|v| (v.name.as_str(), v.value.as_str()))
        .collect();
    assert_eq!(
        (chain.name.as_str(), pairs),
        ("c", vec![("kept", "k"), ("usertoken", "new")])
    );
}

#[test]
fn refusals_say_what_to_do() {
    let long = "x".repeat(201);
    for (name, pairs, part) in [
        ("*", &[][..], "x-destination-name is missing"),
        (
            "*",
            &[("x-destination-name", "a"), ("x-destination-name", "a")],
            "more than once",
        ),
        ("*", &[("x-destination-name", "a b")], "letters, digits"),
        ("*", &[("x-destination-name", &long)], "letters, digits"),
        (
            "*",
            &[("x-destination-name", "a"), ("x-destination-level", "here")],
            "provider_subaccount",
        ),
        (
            "*",
            &[("x-destination-name", "a"), ("x-fragment-optional", "true")],
            "need x-fragment-name",
        ),
        (
            "*",
            &[
                ("x-destination-name", "a"),
                ("x-fragment-name", "f"),
                ("x-fragment-optional", "yes"),
            ],
            "true or false",
        ),
        (
            "*",
            &[
                ("x-destination-name", "a"),
                ("x-tenant-id", "t"),
                ("x-tenant-subdomain", "t"),
            ],
            "not both",
        ),
        ("*", &[("x_destination_name", "a")], "underscore"),
        (
            "erp",
            &[("x-destination-name", "other")],
            "names its destination itself",
        ),
        ("erp", &[("x-fragment-name", "f")], "names its destination itself"),
        ("erp", &[("x-chain-var-a", "1")], "needs x-chain-name"),
    ] {
        let failure = take(name, pairs).unwrap_err();
        assert_eq!(failure.kind, Kind::BadControlHeader);
        assert!(failure.message.contains(part), "{pairs:?}: {}", failure.message);
    }
}
