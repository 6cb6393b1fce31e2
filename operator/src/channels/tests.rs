use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use landbridge_crds::check;
use landbridge_crds::{ServiceChannel, ServiceMapping};
use serde_json::{Value, json};

use super::*;
use crate::cluster::model::Managed;

mod claims;
mod namespaces;
mod targets;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn key(namespace: Option<&str>, name: &str) -> ChannelKey {
    ChannelKey {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    }
}

/// A `ServiceChannel` of the namespace `shop`, created so many seconds after the start.
fn channel(name: &str, created: i64, spec: Value) -> Declared {
    let mut resource: ServiceChannel =
        check::manifest(&json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})).unwrap();
    resource.metadata.uid = Some(format!("uid-{name}"));
    resource.metadata.generation = Some(1);
    let mut declared = Declared::channel(&resource);
    declared.created = at(created);
    declared
}

fn mapping(name: &str, created: i64, spec: Value) -> Declared {
    let mut resource: ServiceMapping =
        check::manifest(&json!({"metadata": {"name": name}, "spec": spec})).unwrap();
    resource.metadata.uid = Some(format!("uid-{name}"));
    resource.metadata.generation = Some(1);
    let mut declared = Declared::mapping(&resource);
    declared.created = at(created);
    declared
}

fn to_web(service_id: &str) -> Value {
    json!({"type": "TCP", "serviceId": service_id, "serviceRef": {"name": "web", "port": "http"}})
}

fn to_address(service_id: &str) -> Value {
    json!({"type": "TCP", "serviceId": service_id, "internalAddress": "web.shop.svc:8080"})
}

fn web() -> (ServiceKey, Option<ServiceFacts>) {
    service(
        "web",
        json!({"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 8080}]}),
    )
}

fn service(name: &str, spec: Value) -> (ServiceKey, Option<ServiceFacts>) {
    let service: Service = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
    let key = ServiceKey {
        namespace: "shop".into(),
        name: name.into(),
    };
    (key, Some(ServiceFacts::of(&service)))
}

/// A leader's table with the Service `web`, settled.
fn table() -> Channels {
    let mut table = Channels::new(ChannelOptions::default(), Managed::All);
    let (key, facts) = web();
    table.set_service(&key, facts);
    table.services_listed();
    table.set_leading(true, at(0));
    table.settle();
    table
}

fn held(locations: &[&str]) -> Option<BTreeSet<String>> {
    Some(locations.iter().map(|one| (*one).to_owned()).collect())
}

/// Type=status/reason of all conditions.
fn summary(planned: &PlannedChannel) -> String {
    let conditions = planned.status.conditions.iter();
    let parts: Vec<_> = conditions
        .map(|one| format!("{}={}/{}", one.type_, one.status, one.reason))
        .collect();
    parts.join(" ")
}

fn message(planned: &PlannedChannel, type_: &str) -> String {
    let mut conditions = planned.status.conditions.iter();
    conditions.find(|one| one.type_ == type_).unwrap().message.clone()
}

fn plan_one(table: &mut Channels, second: i64) -> PlannedChannel {
    let mut planned = table.plan(at(second), 100);
    assert_eq!(planned.len(), 1, "{planned:?}");
    planned.remove(0)
}

fn keys(planned: &[PlannedChannel]) -> Vec<String> {
    planned.iter().map(|one| one.key.to_string()).collect()
}

#[test]
fn a_channel_becomes_ready_with_the_first_report_and_reachable_with_a_connector() {
    let mut table = table();
    table.set(
        channel(
            "orders",
            0,
            json!({"type": "RFC", "serviceId": "orders", "subaccountId": "s1",
                   "serviceRef": {"name": "web", "port": 8080}, "locationIds": ["", "berlin", ""],
                   "connector": {"localPort": 3300}}),
        ),
        at(0),
    );
    let planned = plan_one(&mut table, 1);
    assert_eq!(
        summary(&planned),
        "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs Programmed=Unknown/Pending \
         Ready=Unknown/NotReady Reachable=Unknown/Pending"
    );
    assert_eq!(planned.events, [], "an unknown state is nothing to tell");
    let route = planned.route.clone().unwrap();
    assert_eq!(
        (
            route.address.as_str(),
            route.subaccount.as_deref(),
            route.generation
        ),
        ("web.shop.svc:8080", Some("s1"), 1)
    );
    assert_eq!(route.location_ids, ["", "berlin"]);
    assert_eq!(table.routes(), [(*route).clone()]);

    let orders = key(Some("shop"), "orders");
    table.set_held(&orders, held(&[]), at(2));
    let planned = plan_one(&mut table, 2);
    assert!(
        summary(&planned).contains("Ready=True/Ready Reachable=False/NotHeld"),
        "{}",
        summary(&planned)
    );
    let text = message(&planned, "Reachable");
    assert!(
        text.contains("the default location, location \"berlin\"") && text.contains("subaccount s1"),
        "{text}"
    );
    assert_eq!(planned.events.len(), 2);
    assert!(!planned.route_changed);

    table.set_held(&orders, held(&["berlin"]), at(3));
    let planned = plan_one(&mut table, 3);
    assert!(
        summary(&planned).ends_with("Reachable=False/PartlyHeld"),
        "{}",
        summary(&planned)
    );
    let reachable: Vec<_> = planned
        .status
        .locations
        .iter()
        .map(|one| (one.id.as_str(), one.reachable))
        .collect();
    assert_eq!(reachable, [("", false), ("berlin", true)]);

    table.set_held(&orders, held(&["", "berlin", "elsewhere"]), at(4));
    let planned = plan_one(&mut table, 4);
    assert!(
        summary(&planned).ends_with("Reachable=True/Held"),
        "{}",
        summary(&planned)
    );
    assert_eq!(planned.finalizer, Finalizer::Add);

    // The same once more is nothing new.
    table.set_held(&orders, held(&["", "berlin", "elsewhere"]), at(5));
    assert_eq!(table.plan(at(5), 100), []);
}

#[test]
fn the_connectors_end_that_is_off_is_told() {
    let mut table = table();
    let mut spec = to_web("orders");
    spec["connector"] = json!({"localPort": 9000, "enabled": false});
    table.set(channel("orders", 0, spec), at(0));
    table.set_held(&key(Some("shop"), "orders"), held(&[]), at(0));
    let planned = plan_one(&mut table, 1);
    assert!(
        summary(&planned).ends_with("Ready=True/Ready Reachable=False/Disabled"),
        "{}",
        summary(&planned)
    );
}

#[test]
fn tenancy_decides_whether_a_subaccount_is_needed() {
    let planned = |tenancy: Tenancy, spec: Value| {
        let options = ChannelOptions {
            tenancy,
            ..ChannelOptions::default()
        };
        let mut table = Channels::new(options, Managed::All);
        table.services_listed();
        table.set_leading(true, at(0));
        table.set(mapping("m", 0, spec), at(0));
        plan_one(&mut table, 0)
    };
    let refused = planned(Tenancy::Shared, to_address("orders"));
    assert!(
        summary(&refused).starts_with("Accepted=False/SubaccountRequired"),
        "{}",
        summary(&refused)
    );
    let mut named = to_address("orders");
    named["subaccountId"] = json!("own");
    for (tenancy, spec, expected) in [
        (Tenancy::Shared, named.clone(), Some("own")),
        (Tenancy::Dedicated(Some("dedicated".into())), named, Some("own")),
        (
            Tenancy::Dedicated(Some("dedicated".into())),
            to_address("orders"),
            Some("dedicated"),
        ),
        (Tenancy::Dedicated(None), to_address("orders"), None),
    ] {
        assert_eq!(
            planned(tenancy, spec).route.unwrap().subaccount.as_deref(),
            expected
        );
    }
}

#[test]
fn a_deleted_channel_is_withdrawn_and_waits_for_connectors_but_not_for_ever() {
    let mut table = table();
    let orders = key(Some("shop"), "orders");
    let mut resource = channel("orders", 0, to_web("orders"));
    table.set(resource.clone(), at(0));
    table.set_held(&orders, held(&[""]), at(1));
    assert_eq!(plan_one(&mut table, 1).finalizer, Finalizer::Add);
    let write = table.pending(&orders).unwrap();
    table.written(&write);
    let planned = plan_one(&mut table, 2);
    assert_eq!(
        (planned.finalizer, table.pending(&orders)),
        (Finalizer::Keep, None)
    );

    resource.finalizers = vec![FINALIZER.to_owned()];
    resource.observed = planned.status;
    resource.deleted = Some(at(10));
    table.set(resource.clone(), at(10));
    let planned = plan_one(&mut table, 10);
    assert_eq!((planned.route, planned.finalizer), (None, Finalizer::Keep));
    assert_eq!(table.routes(), []);
    assert_eq!(table.next_due(), Some(at(70)));
    // Nobody lets go: it goes all the same.
    assert_eq!(plan_one(&mut table, 70).finalizer, Finalizer::Remove);

    // Somebody lets go in time, or the proxies do not know it any more.
    for released in [held(&[]), None] {
        table.remove(&orders);
        table.set(resource.clone(), at(11));
        table.set_held(&orders, held(&[""]), at(11));
        assert_eq!(plan_one(&mut table, 11).finalizer, Finalizer::Keep);
        table.set_held(&orders, released, at(12));
        assert_eq!(plan_one(&mut table, 12).finalizer, Finalizer::Remove);
    }
    // The annotation.
    table.remove(&orders);
    resource.skip_cleanup = true;
    table.set(resource, at(11));
    table.set_held(&orders, held(&[""]), at(11));
    assert_eq!(plan_one(&mut table, 11).finalizer, Finalizer::Remove);
}

#[test]
fn only_the_leader_writes_and_a_new_one_does_not_forget_what_the_old_one_knew() {
    let orders = key(Some("shop"), "orders");
    let mut first = table();
    first.set(channel("orders", 0, to_web("orders")), at(0));
    first.set_held(&orders, held(&[""]), at(0));
    let status = plan_one(&mut first, 0).status;

    let mut second = table();
    second.set_leading(false, at(0));
    let mut resource = channel("orders", 0, to_web("orders"));
    resource.observed = status.clone();
    second.set(resource, at(1));
    let planned = plan_one(&mut second, 1);
    assert!(planned.route.is_some(), "every replica serves");
    assert_eq!(
        (planned.finalizer, second.pending(&orders)),
        (Finalizer::Keep, None)
    );

    second.set_leading(true, at(100));
    let planned = plan_one(&mut second, 100);
    assert_eq!((planned.status, planned.events), (status.clone(), Vec::new()));
    assert_eq!(second.pending(&orders), None, "no report yet, nothing taken back");
    // No proxy has it any more.
    second.settle();
    let planned = plan_one(&mut second, 120);
    assert!(
        summary(&planned).contains("Programmed=Unknown/Pending"),
        "{}",
        summary(&planned)
    );
    assert!(second.pending(&orders).is_some());
    // A proxy has.
    second.set_held(&orders, held(&[""]), at(121));
    let planned = plan_one(&mut second, 121);
    assert!(
        summary(&planned).contains("Ready=True/Ready Reachable=True/Held"),
        "{}",
        summary(&planned)
    );
    assert_eq!(planned.finalizer, Finalizer::Add);
    second.set_leading(false, at(122));
    assert_eq!(second.pending(&orders), None);
}

#[test]
fn a_status_edited_by_hand_is_restored_with_its_times() {
    let mut table = table();
    let orders = key(Some("shop"), "orders");
    let mut resource = channel("orders", 0, to_web("orders"));
    table.set(resource.clone(), at(0));
    let status = plan_one(&mut table, 0).status;
    table.written(&table.pending(&orders).unwrap());
    assert_eq!(
        table.pending(&orders),
        None,
        "not written twice before the watch tells"
    );
    resource.observed = ChannelStatus {
        address: Some("elsewhere:1".into()),
        ..status.clone()
    };
    table.set(resource, at(50));
    let planned = plan_one(&mut table, 50);
    assert_eq!((&planned.status, planned.events.len()), (&status, 0));
    assert_eq!(table.pending(&orders).unwrap().status, Some(status));
}

#[test]
fn a_resource_that_cannot_be_read_says_so_in_its_status() {
    let mut table = table();
    let object = kube::core::error_boundary::InvalidObject {
        error: "unknown variant `UDP`".into(),
        metadata: channel_metadata("odd"),
    };
    table.set(Declared::unreadable(true, &object), at(0));
    let planned = plan_one(&mut table, 0);
    assert_eq!(
        summary(&planned),
        "Accepted=False/Unreadable ResolvedRefs=Unknown/Invalid Programmed=False/NoRoute Ready=False/NotReady \
         Reachable=Unknown/Pending"
    );
    assert!(message(&planned, "Accepted").contains("unknown variant `UDP`"));
    assert!(table.pending(&key(Some("shop"), "odd")).is_some());
}

fn channel_metadata(name: &str) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    serde_json::from_value(json!({"name": name, "namespace": "shop", "uid": "u", "generation": 1})).unwrap()
}

#[test]
fn one_change_among_thousands_plans_one() {
    let mut table = table();
    for number in 0..5_000 {
        table.set(
            channel(&format!("c{number}"), number, to_web(&format!("s{number}"))),
            at(0),
        );
    }
    let mut count = 0;
    loop {
        let planned = table.plan(at(1), 256);
        if planned.is_empty() {
            break;
        }
        assert!(planned.len() <= 256);
        count += planned.len();
    }
    assert_eq!((count, table.routes().len()), (5_000, 5_000));
    let mut changed = channel("c7", 7, to_web("new"));
    changed.generation = Some(2);
    table.set(changed, at(2));
    assert_eq!(keys(&table.plan(at(2), 256)), ["shop/c7"]);
    let (other, facts) = service("other", json!({"ports": [{"port": 1}]}));
    table.set_service(&other, facts);
    assert_eq!(table.plan(at(2), 256), [], "a Service that nobody refers to");
}
