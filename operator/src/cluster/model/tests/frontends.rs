//! Where proxies beside the workloads may take connections.

use std::time::Duration;

use landbridge_crds::destination::{DestinationSpec, ServiceSpec};

use super::world::{World, found, key};
use crate::lookup::Failure;

/// What the API server does when a Service is made or edited.
fn assign(world: &mut World, name: &str, addresses: &[&str]) {
    let key = key(name);
    let mut service = world.cluster.services[&key].clone();
    let spec = service.spec.as_mut().unwrap();
    spec.cluster_ip = addresses.first().map(|address| (*address).to_owned());
    spec.cluster_ips = Some(addresses.iter().map(|address| (*address).to_owned()).collect());
    world.cluster.put_service(&key, service);
    world.run();
}

fn frontends(world: &World, name: &str) -> Vec<String> {
    let route = &world.routes[&key(name)];
    route.frontends.iter().map(ToString::to_string).collect()
}

#[test]
fn routes_name_the_addresses_of_their_service() {
    let mut world = World::leader();
    world.declare("erp");
    world.run();
    assert!(
        frontends(&world, "erp").is_empty(),
        "the Service has no address yet"
    );
    assign(&mut world, "erp", &["fd00::7", "10.96.0.7"]);
    assert_eq!(frontends(&world, "erp"), ["10.96.0.7:80", "[fd00::7]:80"]);
    assign(&mut world, "erp", &["None"]);
    assert!(frontends(&world, "erp").is_empty(), "headless");
    assign(&mut world, "erp", &["10.96.0.7"]);
    world.cluster.edit(&key("erp"), |resource| {
        resource.spec.service = Some(ServiceSpec { port: Some(8080) })
    });
    world.run();
    // The cluster in memory replaces what is written; the real one keeps the address.
    assign(&mut world, "erp", &["10.96.0.7"]);
    assert_eq!(frontends(&world, "erp"), ["10.96.0.7:8080"]);
}

#[test]
fn what_needs_a_tunnel_is_left_to_the_gateways() {
    let mut world = World::leader();
    world.store.insert("db".to_owned(), found("TCP"));
    world.declare("db");
    world.declare_as("gw", DestinationSpec::named("*"));
    world.declare("erp");
    world.run();
    for (name, address) in [("db", "10.96.0.1"), ("gw", "10.96.0.2"), ("erp", "10.96.0.3")] {
        assign(&mut world, name, &[address]);
    }
    assert!(frontends(&world, "db").is_empty(), "on premise");
    assert!(frontends(&world, "gw").is_empty(), "each request may need one");
    assert_eq!(frontends(&world, "erp"), ["10.96.0.3:80"]);
    // It becomes one on the Internet.
    world.store.insert("db".to_owned(), found("HTTP"));
    world.clock += Duration::from_secs(200);
    world.run();
    assign(&mut world, "db", &["10.96.0.1"]);
    assert_eq!(frontends(&world, "db"), ["10.96.0.1:80"]);
    // The store is away: it stays as it was.
    let away = || Err(Failure("the store is away".into()));
    world.store.insert("db".to_owned(), away());
    world.clock += Duration::from_secs(200);
    world.run();
    assert_eq!(frontends(&world, "db"), ["10.96.0.1:80"]);
}

#[test]
fn nothing_is_taken_before_the_store_has_answered() {
    let mut world = World::leader();
    world.declare("erp");
    world.run();
    assign(&mut world, "erp", &["10.96.0.3"]);
    world.answers = false;
    world.restart(super::world::settings(), crate::cluster::model::Role::Leader);
    world.list();
    world.run();
    assert!(frontends(&world, "erp").is_empty());
    world.answers = true;
    world.run();
    assert_eq!(frontends(&world, "erp"), ["10.96.0.3:80"]);
}

#[test]
fn a_service_that_is_gone_leaves_no_address() {
    let mut world = World::leader();
    world.declare("erp");
    world.run();
    assign(&mut world, "erp", &["10.96.0.3"]);
    world.proxies.listening.clear();
    world.cluster.refuses = true;
    world.cluster.delete_service(&key("erp"));
    world.run();
    assert!(
        world
            .routes
            .get(&key("erp"))
            .is_none_or(|route| route.frontends.is_empty())
    );
}
