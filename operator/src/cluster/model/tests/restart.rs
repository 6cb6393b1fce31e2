//! What a process finds when it starts.

use landbridge_crds::conditions::types;
use landbridge_crds::destination::DestinationSpec;
use landbridge_destination::RouteProtocol;

use super::world::{World, found, key, settings};
use crate::cluster::model::Role;
use crate::lookup::Failure;

/// A cluster with an HTTP and a TCP destination, all programmed.
fn programmed() -> World {
    let mut world = World::leader();
    world.store.insert("db".into(), found("TCP"));
    world.declare("erp");
    world.declare("db");
    world.run();
    assert_eq!(world.available("db"), "True/ConfigurationSuccessful");
    world.writes.clear();
    world.events.clear();
    world
}

#[test]
fn nothing_is_decided_before_everything_is_listed() {
    let mut world = World::new(settings(), Role::Leader);
    world.cluster.declare(&key("erp"), DestinationSpec::named("erp"));
    world.cluster.list();
    for _ in 1..world.cluster.told.len() {
        assert!(world.hear_one());
        let decided = world.round();
        assert!(decided.routes.is_empty() && decided.write.is_empty());
        assert!(world.model.orphans().is_empty() && !world.model.is_complete());
    }
    world.hear();
    assert!(world.model.is_complete());
    assert_eq!(world.written(), ["erp: service slice[2]", "erp: status"]);
    assert_eq!(world.available("erp"), "True/ConfigurationSuccessful");
    world.check();
}

#[test]
fn a_restart_keeps_routes_and_writes_nothing() {
    let mut world = programmed();
    let before = world.routes.clone();
    world.restart(settings(), Role::Leader);
    world.answers = false;
    world.list();
    world.round();
    assert_eq!(world.routes, before, "before the store was asked");
    assert_eq!(world.written(), Vec::<String>::new());
    world.answers = true;
    assert_eq!(world.written(), Vec::<String>::new());
    assert_eq!((world.routes.clone(), world.events.len()), (before, 0));
    world.check();
}

#[test]
fn a_restart_while_the_store_is_away_changes_no_protocol_and_no_port() {
    let mut world = programmed();
    let before = world.routes.clone();
    world.restart(settings(), Role::Leader);
    for name in ["erp", "db"] {
        world
            .store
            .insert(name.into(), Err(Failure("connection refused".into())));
    }
    world.list();
    let written = world.written();
    assert_eq!(world.routes, before);
    assert_eq!(world.routes[&key("db")].protocol, RouteProtocol::Tcp);
    assert!(
        written.iter().all(|what| what.ends_with(": status")),
        "{written:?}"
    );
    assert_eq!(world.available("db"), "False/ConfigurationFailed");
    // It comes back: all as it was, told once.
    world.store.insert("db".into(), found("TCP"));
    world.store.remove("erp");
    world.events.clear();
    world.clock += std::time::Duration::from_secs(60);
    world.run();
    assert_eq!(world.routes, before);
    assert_eq!(world.available("db"), "True/ConfigurationSuccessful");
    assert_eq!(world.events.len(), 2, "{:?}", world.events);
}

/// The port is in the Service and in the status; either is enough.
#[test]
fn a_port_is_found_again_in_the_service_or_in_the_status() {
    let mut world = programmed();
    let (erp, db) = (world.port("erp"), world.port("db"));
    world.cluster.delete_service(&key("erp"));
    world.cluster.edit(&key("db"), |resource| resource.status = None);
    world.restart(settings(), Role::Leader);
    world.list();
    world.run();
    assert_eq!((world.port("erp"), world.port("db")), (erp, db));
    world.check();
}

#[test]
fn a_status_that_claims_the_port_of_another_takes_nothing() {
    let mut world = programmed();
    let (erp, db) = (world.port("erp"), world.port("db"));
    for role in [Role::Leader, Role::Follower] {
        for thief in ["aaa", "db", "zzz"] {
            if thief != "db" && !world.cluster.destinations.contains_key(&key(thief)) {
                world.cluster.declare(&key(thief), DestinationSpec::named(thief));
            }
            world.cluster.edit(&key(thief), |resource| {
                resource.status.get_or_insert_default().proxy_port = Some(i32::from(erp));
            });
        }
        world.restart(settings(), role);
        world.list();
        world.run();
        assert_eq!((world.port("erp"), world.port("db")), (erp, db), "{role:?}");
        world.check();
    }
}

#[test]
fn endpoints_stay_until_the_proxies_have_had_the_time_to_report() {
    let mut world = programmed();
    world.restart(settings(), Role::Leader);
    world.serves = false;
    world.proxies.listening.clear();
    world.proxies.addresses.clear();
    world.proxies.settled = false;
    world.list();
    assert_eq!(world.written(), Vec::<String>::new());
    assert_eq!(world.condition("erp", types::PROGRAMMED).status, "True");
    // One of the two comes back, for one of the two.
    world.proxies.addresses.push("10.0.0.1");
    world.proxies.listening.insert(key("erp"), world.port("erp"));
    world.model.proxies_changed([&key("erp")]);
    assert_eq!(world.written(), Vec::<String>::new());
    assert_eq!(
        (world.endpoints("erp"), world.endpoints("db")),
        (Some(2), Some(2))
    );
    world.proxies.settled = true;
    world.model.mark_all();
    let mut written = world.written();
    written.sort();
    assert_eq!(written, ["db: slice[0]", "db: status", "erp: slice[1]"]);
    assert_eq!(world.available("db"), "Unknown/Pending");
}
