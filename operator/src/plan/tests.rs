use std::net::SocketAddr;

use landbridge_crds::destination::{AccessControl, FragmentRef};

use super::*;

static NONE: DestinationStatus = DestinationStatus {
    conditions: Vec::new(),
    proxy_port: None,
    tenants: Vec::new(),
};
const NOW: &str = "2026-01-02T03:04:05Z";

fn config(properties: &[(&str, &str)]) -> DestinationConfig {
    let mut config = DestinationConfig::new();
    config.set("Name", "erp");
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config
}

fn http(url: &str) -> DestinationConfig {
    config(&[("Type", "HTTP"), ("ProxyType", "Internet"), ("URL", url)])
}

fn resource(name: &str) -> Destination {
    let mut resource = Destination::new("erp", DestinationSpec::named(name));
    resource.metadata.generation = Some(3);
    resource
}

fn listening() -> RouteState {
    RouteState::Listening(SocketAddr::from(([127, 0, 0, 1], 20001)))
}

fn decide(resource: &Destination, lookup: &Lookup, state: Option<&RouteState>) -> Planned {
    let key = RouteKey::new("sales", resource.metadata.name.clone().unwrap());
    let facts = Facts {
        key: &key,
        resource,
        previous: &NONE,
        lookup,
        port: Ok(20001),
        state,
        service: ServiceFact::NotUsed,
        served: None,
        now: NOW,
    };
    let planned = plan(facts, PlanOptions::default());
    if let Lookup::Found(config) = lookup {
        let lookup = &Lookup::Found(Arc::new(relevant(config)));
        let by_relevant = plan(Facts { lookup, ..facts }, PlanOptions::default());
        assert_eq!(
            by_relevant, planned,
            "a property that is read is not kept: {config:?}"
        );
    }
    planned
}

/// Type=status/reason of all conditions.
fn summary(planned: &Planned) -> String {
    let conditions = planned.status.conditions.iter();
    conditions
        .map(|one| format!("{}={}/{} ", one.type_, one.status, one.reason))
        .collect::<String>()
        .trim()
        .to_owned()
}

fn available(planned: &Planned) -> (&str, &str, &str) {
    let last = planned.status.conditions.last().unwrap();
    assert_eq!(
        last.type_,
        types::AVAILABLE,
        "the Status column shows the last reason"
    );
    (&last.status, &last.reason, &last.message)
}

#[test]
fn what_the_store_answers_becomes_a_route_and_conditions() {
    let found = Arc::new(http("https://api.example.com/v1"));
    let tcp = Arc::new(config(&[
        ("Type", "TCP"),
        ("ProxyType", "OnPremise"),
        ("Address", "db.corp:5432"),
    ]));
    let gone = "connection refused".to_owned();
    let cases = [
        (
            Lookup::Found(found.clone()),
            Some(RouteProtocol::Http),
            "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs Programmed=True/Programmed Ready=True/Ready \
             Available=True/ConfigurationSuccessful",
        ),
        (
            Lookup::Found(tcp),
            Some(RouteProtocol::Tcp),
            "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs Programmed=True/Programmed Ready=True/Ready \
             Available=True/ConfigurationSuccessful",
        ),
        (
            Lookup::NotFound("create it".into()),
            Some(RouteProtocol::Http),
            "Accepted=True/Accepted ResolvedRefs=False/RefNotFound Programmed=True/Programmed Ready=False/NotReady \
             Available=False/ConfigurationError-ReferencedDestination-NotFound",
        ),
        (
            Lookup::FragmentNotFound("create it".into()),
            Some(RouteProtocol::Http),
            "Accepted=True/Accepted ResolvedRefs=False/RefNotFound Programmed=True/Programmed Ready=False/NotReady \
             Available=False/ConfigurationError-ReferencedFragment-NotFound",
        ),
        (
            Lookup::Unavailable {
                reason: gone.clone(),
                last: None,
            },
            Some(RouteProtocol::Http),
            "Accepted=True/Accepted ResolvedRefs=Unknown/StoreUnavailable Programmed=True/Programmed \
             Ready=Unknown/NotReady Available=False/ConfigurationFailed",
        ),
        (
            Lookup::Unavailable {
                reason: gone,
                last: Some(found),
            },
            Some(RouteProtocol::Http),
            "Accepted=True/Accepted ResolvedRefs=Unknown/StoreUnavailable Programmed=True/Programmed \
             Ready=Unknown/NotReady Available=True/ConfigurationSuccessful",
        ),
        (
            Lookup::Pending,
            None,
            "Accepted=True/Accepted ResolvedRefs=Unknown/Pending Programmed=Unknown/Pending Ready=Unknown/NotReady \
             Available=Unknown/Pending",
        ),
    ];
    for (lookup, protocol, expected) in cases {
        let planned = decide(&resource("erp"), &lookup, Some(&listening()));
        assert_eq!(
            planned.route.as_ref().map(|route| route.protocol),
            protocol,
            "{lookup:?}"
        );
        assert_eq!(summary(&planned), expected, "{lookup:?}");
        assert!(
            planned
                .status
                .conditions
                .iter()
                .all(|one| one.observed_generation == Some(3))
        );
        assert_eq!(planned.status.proxy_port, protocol.map(|_| 20001), "{lookup:?}");
    }
}

#[test]
fn a_gateway_needs_no_look_up_and_takes_no_fragment() {
    let mut gateway = resource("*");
    let planned = decide(&gateway, &Lookup::NotNeeded, Some(&listening()));
    assert!(planned.route.as_ref().is_some_and(Route::is_gateway));
    assert!(
        summary(&planned).contains("ResolvedRefs=True/NotNeeded"),
        "{}",
        summary(&planned)
    );
    assert!(summary(&planned).contains("Ready=True"), "{}", summary(&planned));

    gateway.spec.fragment_ref = Some(FragmentRef {
        name: Some("eu".into()),
        level: None,
        optional: true,
    });
    let planned = decide(&gateway, &Lookup::NotNeeded, None);
    assert_eq!(planned.route, None);
    assert_eq!(
        available(&planned).1,
        "ConfigurationError-FragmentSpecification-NotSupported"
    );
}

#[test]
fn loopback_is_a_matter_of_a_switch() {
    let (resource, key) = (resource("erp"), RouteKey::new("sales", "erp"));
    let lookup = Lookup::Found(Arc::new(http("http://127.0.0.1:8080")));
    let facts = Facts {
        key: &key,
        resource: &resource,
        previous: &NONE,
        lookup: &lookup,
        port: Ok(0),
        state: None,
        service: ServiceFact::NotUsed,
        served: None,
        now: NOW,
    };
    let options = PlanOptions {
        allow_loopback: true,
        default_scope: Scope::ClusterWide,
    };
    let route = plan(facts, options).route.unwrap();
    assert_eq!(
        (route.port, route.scope, route.generation),
        (0, Scope::ClusterWide, 3)
    );
}

#[test]
fn ports_and_proxies_decide_whether_it_is_programmed() {
    let (resource, key) = (resource("erp"), RouteKey::new("sales", "erp"));
    let lookup = Lookup::Found(Arc::new(http("https://a")));
    let facts = Facts {
        key: &key,
        resource: &resource,
        previous: &NONE,
        lookup: &lookup,
        port: Ok(7),
        state: None,
        service: ServiceFact::NotUsed,
        served: None,
        now: NOW,
    };
    let failed = RouteState::Failed("port 7 is in use".into());
    // The report about the port it had before.
    let elsewhere = listening();
    let cases = [
        (facts, "Programmed=Unknown/Pending", "Pending"),
        (
            Facts {
                state: Some(&failed),
                ..facts
            },
            "Programmed=False/Failed",
            "FailedToApplyConfiguration",
        ),
        (
            Facts {
                state: Some(&elsewhere),
                ..facts
            },
            "Programmed=Unknown/Pending",
            "Pending",
        ),
        (
            Facts {
                port: Err("no port left"),
                ..facts
            },
            "Programmed=False/NoPort",
            "FailedToApplyConfiguration",
        ),
    ];
    for (facts, programmed, reason) in cases {
        let planned = plan(facts, PlanOptions::default());
        assert!(summary(&planned).contains(programmed), "{}", summary(&planned));
        assert_eq!(available(&planned).1, reason);
        assert_eq!(planned.route.is_some(), facts.port.is_ok());
    }
}

#[test]
fn times_move_and_events_are_made_only_with_a_change() {
    let mut resource = resource("erp");
    let mut previous = NONE.clone();
    let key = RouteKey::new("sales", "erp");
    let (missing, found) = (
        Lookup::NotFound("create it".into()),
        Lookup::Found(Arc::new(http("https://a"))),
    );
    let state = listening();
    let mut step = |lookup: &Lookup, now: &str, generation: i64| {
        resource.metadata.generation = Some(generation);
        let facts = Facts {
            key: &key,
            resource: &resource,
            previous: &previous,
            lookup,
            port: Ok(20001),
            state: Some(&state),
            service: ServiceFact::NotUsed,
            served: None,
            now,
        };
        let planned = plan(facts, PlanOptions::default());
        previous = planned.status.clone();
        planned
    };
    let of = |planned: &Planned, type_: &str| {
        let one = planned
            .status
            .conditions
            .iter()
            .find(|one| one.type_ == type_)
            .unwrap()
            .clone();
        (
            one.last_transition_time.unwrap(),
            one.last_update_time.unwrap(),
            one.observed_generation.unwrap(),
        )
    };
    let times =
        |transition: &str, update: &str, generation| (transition.to_owned(), update.to_owned(), generation);

    let first = step(&missing, "t1", 1);
    assert_eq!(first.events.len(), 1);
    assert_eq!(first.events[0].severity, Severity::Warning);
    let again = step(&missing, "t2", 1);
    assert_eq!(
        (&again.status, again.events.len()),
        (&first.status, 0),
        "nothing changed, nothing is written"
    );
    let other_words = step(&Lookup::NotFound("create it soon".into()), "t3", 1);
    assert_eq!(of(&other_words, types::AVAILABLE), times("t1", "t3", 1));
    assert_eq!(of(&other_words, types::ACCEPTED), times("t1", "t1", 1));
    let mended = step(&found, "t4", 2);
    assert_eq!(of(&mended, types::AVAILABLE), times("t4", "t4", 2));
    assert_eq!(
        of(&mended, types::ACCEPTED),
        times("t1", "t1", 2),
        "only the generation moved"
    );
    assert_eq!(mended.events[0].severity, Severity::Normal);
}

#[test]
fn long_messages_are_cut_at_a_character() {
    let planned = decide(&resource("erp"), &Lookup::NotFound("ä".repeat(5_000)), None);
    let message = available(&planned).2;
    assert!(
        message.len() <= 2_003 && message.ends_with("ä..."),
        "{}",
        message.len()
    );
}

#[test]
fn the_selector_takes_everything_over() {
    let spec: DestinationSpec = serde_json::from_value(serde_json::json!({
        "destinationRef": {"name": "erp", "level": "provider_subaccount"},
        "fragmentRef": {"name": "eu", "level": "instance", "optional": true},
        "chainRef": {"name": "c", "variables": [{"name": "v", "value": "1"}]},
        "destinationServiceInstanceName": "second",
        "accessControl": {"scope": "namespaced"}}))
    .unwrap();
    let selector = selector(&spec);
    assert_eq!(selector.level, Some(Level::ProviderSubaccount));
    let fragment = selector.fragment.unwrap();
    assert_eq!(
        (fragment.name.as_str(), fragment.level, fragment.optional),
        ("eu", Some(Level::Instance), true)
    );
    let chain = selector.chain.unwrap();
    assert_eq!(
        (chain.name.as_str(), chain.variables[0].value.as_str()),
        ("c", "1")
    );
    assert_eq!(selector.instance.as_deref(), Some("second"));

    let nameless = DestinationSpec {
        fragment_ref: Some(FragmentRef {
            name: None,
            level: None,
            optional: true,
        }),
        access_control: Some(AccessControl { scope: None }),
        ..DestinationSpec::named("erp")
    };
    assert_eq!(super::selector(&nameless), DestinationSelector::named("erp"));
}

mod refusals;
