//! What destinations share: ports, namespaces, look-ups.

use std::time::Duration;

use landbridge_destination::DestinationSelector;
use landbridge_destination::serve::StoreChange;

use super::world::{LABEL, World, found, key, settings};
use crate::cluster::model::{Managed, Role};
use crate::cluster::watch::Seen;

fn labelled() -> World {
    let mut settings = settings();
    settings.managed = Managed::labelled(LABEL, "system");
    let mut world = World::new(settings, Role::Leader);
    world.model.see_namespace(Seen::Restarted, world.clock);
    world.namespace("shop", true);
    world.namespace("crm", false);
    world.model.see_namespace(Seen::Listed, world.clock);
    world.list();
    world
}

#[test]
fn who_finds_all_ports_taken_gets_the_first_that_is_given_back() {
    let mut narrow = settings();
    narrow.ports = 10_000..=10_001;
    let mut world = World::new(narrow, Role::Leader);
    world.list();
    for name in ["a", "b", "c"] {
        world.declare(name);
        world.run();
    }
    assert_eq!(world.available("c"), "False/FailedToApplyConfiguration");
    assert!(world.condition("c", "Available").message.contains("--port-range"));
    assert!(!world.routes.contains_key(&key("c")));
    let port = world.port("a");
    world.cluster.delete(&key("a"));
    world.run();
    assert!(
        !world.routes.contains_key(&key("c")),
        "the Service of a still leads there"
    );
    world.cluster.collect_garbage();
    world.run();
    assert_eq!(world.port("c"), port);
    assert_eq!(world.available("c"), "True/ConfigurationSuccessful");
    world.check();
}

#[test]
fn a_port_is_not_given_away_while_a_service_leads_to_it() {
    let mut world = World::leader();
    world.declare("a");
    world.run();
    let port = world.port("a");
    world.cluster.delete(&key("a"));
    world.run();
    // The operator starts anew while Kubernetes has not cleaned up yet.
    world.restart(settings(), Role::Leader);
    world.list();
    world.declare("b");
    world.run();
    assert_ne!(world.port("b"), port);
    world.cluster.collect_garbage();
    world.run();
    // It is free again, and comes last.
    let mut narrow = settings();
    narrow.ports = port..=port + 1;
    world.restart(narrow, Role::Leader);
    world.list();
    world.declare("c");
    world.run();
    assert_eq!(world.port("c"), port);
    world.check();
}

#[test]
fn a_namespace_that_is_not_managed_has_no_routes() {
    let mut world = labelled();
    world.declare("erp");
    world.declare("crm/erp");
    world.run();
    assert!(!world.routes.contains_key(&key("crm/erp")));
    assert!(world.cluster.destinations[&key("crm/erp")].status.is_none());
    let port = world.port("erp");

    world.namespace("shop", false);
    world.writes.clear();
    assert_eq!(world.written(), Vec::<String>::new());
    assert!(world.routes.is_empty());
    let orphans = world.model.orphans();
    assert_eq!(orphans.len(), 2, "{orphans:?}");
    world.check();

    world.namespace("crm", true);
    world.namespace("shop", true);
    world.run();
    assert_eq!(world.port("erp"), port, "its Service is still there");
    assert!(world.routes.contains_key(&key("crm/erp")));
    assert!(world.model.orphans().is_empty());
    world.check();

    // A list of namespaces that misses one.
    world.model.see_namespace(Seen::Restarted, world.clock);
    world.namespace("shop", true);
    world.model.see_namespace(Seen::Listed, world.clock);
    world.run();
    assert!(!world.routes.contains_key(&key("crm/erp")) && world.routes.contains_key(&key("erp")));
    world.check();
}

#[test]
fn orphans_are_found_only_when_everything_is_known() {
    let mut world = World::leader();
    world.declare("erp");
    world.run();
    world.cluster.destinations.remove(&key("erp"));
    world.restart(settings(), Role::Leader);
    world.cluster.list();
    while world.hear_one() {
        let complete = world.model.is_complete();
        assert_eq!(world.model.orphans().is_empty(), !complete);
    }
    assert_eq!(world.model.orphans().len(), 2);
    world.cluster.collect_garbage();
    world.hear();
    assert!(world.model.orphans().is_empty());
}

fn changed(names: Option<&[&str]>) -> StoreChange {
    StoreChange {
        instance: None,
        names: names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
    }
}

#[test]
fn a_change_of_the_store_asks_again_for_what_is_concerned() {
    let mut world = World::leader();
    world.declare("erp");
    world.declare("crm");
    world.run();
    let asked = |world: &mut World| {
        let mut asked: Vec<String> = std::iter::from_fn(|| {
            world
                .model
                .next_lookup(world.clock)
                .map(|(selector, _)| selector.name)
        })
        .collect();
        for name in &asked {
            let selector = DestinationSelector::named(name.clone());
            world.model.looked_up(&selector, found("HTTP"), world.clock);
        }
        asked.sort();
        asked
    };
    assert_eq!(asked(&mut world), Vec::<String>::new());
    world
        .model
        .store_changed(&changed(Some(&["erp", "else"])), Some("main"), world.clock);
    assert_eq!(asked(&mut world), ["erp"]);
    world
        .model
        .store_changed(&changed(None), Some("main"), world.clock);
    assert_eq!(asked(&mut world), ["crm", "erp"]);
    let mut other = changed(None);
    other.instance = Some("other".into());
    world.model.store_changed(&other, Some("main"), world.clock);
    assert_eq!(asked(&mut world), Vec::<String>::new());
    other.instance = Some("main".into());
    world.model.store_changed(&other, Some("main"), world.clock);
    assert_eq!(asked(&mut world).len(), 2, "the default instance by its name");

    // While it is asked for.
    world.clock += Duration::from_secs(200);
    let (selector, _) = world.model.next_lookup(world.clock).unwrap();
    let change = changed(Some(&[&selector.name]));
    world.model.store_changed(&change, Some("main"), world.clock);
    world.model.looked_up(&selector, found("HTTP"), world.clock);
    assert!(asked(&mut world).contains(&selector.name));
}

#[test]
fn proxies_are_told_of_another_answer_and_not_of_the_same() {
    let mut world = World::leader();
    world.declare("erp");
    let mut ask = |answer| {
        world.clock += Duration::from_secs(200);
        world.round();
        let (selector, _) = world.model.next_lookup(world.clock).unwrap();
        world.model.looked_up(&selector, answer, world.clock)
    };
    assert_eq!(ask(found("HTTP")), None, "nothing was known before");
    assert_eq!(ask(Ok(crate::lookup::Answer::Unchanged)), None);
    assert_eq!(
        ask(found("HTTP")),
        None,
        "a store that does not heed If-None-Match"
    );
    assert_eq!(ask(found("TCP")), Some(changed(Some(&["erp"]))));
}

#[test]
fn one_look_up_serves_all_that_mean_the_same() {
    let mut world = World::leader();
    for name in ["a", "b", "crm/c"] {
        world.declare_as(name, landbridge_crds::destination::DestinationSpec::named("erp"));
    }
    world.round();
    assert_eq!(world.look_up(), 1);
    world.run();
    assert_eq!(world.routes.len(), 3);
    world.cluster.delete(&key("a"));
    world.cluster.delete(&key("b"));
    world.hear();
    assert!(world.model.next_lookup_at().is_some(), "one still refers to it");
    world.cluster.delete(&key("crm/c"));
    world.hear();
    assert_eq!(world.model.next_lookup_at(), None);
}
