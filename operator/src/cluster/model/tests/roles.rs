//! Replicas that lead and that follow.

use std::time::Duration;

use landbridge_crds::destination::{AccessControl, AccessScope, DestinationSpec};

use super::world::{World, key, settings};
use crate::cluster::model::Role;

fn pair() -> (World, World) {
    let mut leader = World::leader();
    leader.declare("erp");
    leader.run();
    leader.declare("crm/erp");
    leader.run();
    let mut follower = World::new(settings(), Role::Follower);
    copy(&leader, &mut follower);
    follower.list();
    follower.run();
    leader.writes.clear();
    (leader, follower)
}

/// The follower's watches tell nothing yet; its cluster is the leader's.
fn copy(leader: &World, follower: &mut World) {
    follower
        .cluster
        .destinations
        .clone_from(&leader.cluster.destinations);
    follower.cluster.services.clone_from(&leader.cluster.services);
    follower.cluster.slices.clone_from(&leader.cluster.slices);
}

#[test]
fn a_follower_serves_the_same_and_writes_nothing() {
    let (mut leader, mut follower) = pair();
    assert_eq!(follower.routes, leader.routes);
    assert!(follower.writes.is_empty() && follower.events.is_empty());
    leader.declare("new");
    leader.run();
    leader.cluster.delete(&key("erp"));
    leader.cluster.collect_garbage();
    leader.run();
    copy(&leader, &mut follower);
    follower.list();
    follower.run();
    assert_eq!(follower.routes, leader.routes);
    assert!(follower.writes.is_empty() && follower.events.is_empty());
    follower.check();
}

#[test]
fn a_follower_takes_over_without_writing() {
    let (leader, mut follower) = pair();
    follower.model.set_role(Role::Leader);
    assert_eq!(follower.written(), Vec::<String>::new());
    assert_eq!(follower.routes, leader.routes);
    follower.declare("new");
    follower.run();
    follower.check();
    assert_eq!(follower.available("new"), "True/ConfigurationSuccessful");
}

/// The watch of the Services may be behind that of the destinations, and the reverse.
#[test]
fn a_follower_follows_a_port_that_goes_from_one_to_another() {
    for services_first in [false, true] {
        let (mut leader, mut follower) = pair();
        let port = leader.port("erp");
        leader.cluster.delete(&key("erp"));
        leader.cluster.collect_garbage();
        leader.run();
        // As if the range were used up: the next one gets the port that was given back.
        let mut narrow = settings();
        narrow.ports = port..=port + 1;
        leader.restart(narrow, Role::Leader);
        leader.list();
        leader.declare("next");
        leader.run();
        assert_eq!(leader.port("next"), port);
        let next = key("next");
        let moved = leader.cluster.services[&next].clone();
        let declared = leader.cluster.destinations[&next].clone();
        follower.cluster.destinations.insert(next.clone(), declared);
        if services_first {
            follower.cluster.put_service(&next, moved);
            follower.cluster.tell(&next);
            follower.hear();
            follower.round();
            follower.check();
            follower.cluster.delete(&key("erp"));
        } else {
            follower.cluster.delete(&key("erp"));
            follower.cluster.tell(&next);
            follower.hear();
            follower.round();
            follower.check();
            follower.cluster.put_service(&next, moved);
        }
        follower.cluster.delete_service(&key("erp"));
        follower.run();
        assert_eq!(follower.port("next"), port, "services first: {services_first}");
        follower.check();
        follower.model.set_role(Role::Leader);
        follower.run();
        follower.check();
    }
}

#[test]
fn who_leads_again_decides_by_what_is_there() {
    let (mut one, mut two) = pair();
    one.cluster.refuses = true;
    one.declare("new");
    one.run_now();
    one.model.set_role(Role::Follower);
    one.queue.clear();
    one.run();
    // The other one leads meanwhile, and its writes come through.
    two.model.set_role(Role::Leader);
    copy(&one, &mut two);
    two.list();
    two.run();
    copy(&two, &mut one);
    one.list();
    one.run();
    assert_eq!(one.routes, two.routes);
    one.cluster.refuses = false;
    one.writes.clear();
    one.events.clear();
    one.model.set_role(Role::Leader);
    assert_eq!(one.written(), Vec::<String>::new());
    assert_eq!(one.available("new"), "True/ConfigurationSuccessful");
    assert!(one.events.is_empty(), "{:?}", one.events);
}

/// Policies are made by the scopes, so these have to follow the routes in every role.
#[test]
fn scopes_follow_the_routes() {
    let mut world = World::leader();
    world.declare("erp");
    world.declare("crm/erp");
    world.run();
    world.check();
    let open = |scope| {
        move |resource: &mut landbridge_crds::Destination| {
            resource.spec.access_control = Some(AccessControl { scope: Some(scope) });
        }
    };
    for scope in [AccessScope::ClusterWide, AccessScope::Namespaced] {
        world.cluster.edit(&key("erp"), open(scope));
        world.run();
        world.check();
    }
    world.cluster.edit(&key("erp"), |resource| {
        resource.spec = DestinationSpec::named("*");
        resource.spec.fragment_ref = Some(landbridge_crds::destination::FragmentRef {
            name: Some("x".into()),
            level: None,
            optional: false,
        });
    });
    world.run();
    assert!(!world.routes.contains_key(&key("erp")), "refused, so no route");
    world.check();
    world.cluster.delete(&key("crm/erp"));
    world.run();
    world.check();
    assert_eq!(world.model.scopes(), &crate::cluster::policy::Scopes::default());
}

#[test]
fn a_status_that_waited_for_the_store_waits_anew_for_the_next_leader() {
    let mut world = World::leader();
    world.answers = false;
    world.declare("erp");
    world.run_now();
    world.model.set_role(Role::Follower);
    world.queue.clear();
    world.clock += Duration::from_secs(60);
    world.run_now();
    world.model.set_role(Role::Leader);
    world.run_now();
    assert!(world.writes.is_empty(), "{:?}", world.writes);
    world.answers = true;
    world.run();
    assert_eq!(world.available("erp"), "True/ConfigurationSuccessful");
}
