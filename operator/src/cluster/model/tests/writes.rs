//! What is written, and that nothing is written twice.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use landbridge_crds::conditions::types;
use landbridge_crds::destination::{DestinationSpec, ServiceSpec as DeclaredService};

use super::super::SETTLING;
use super::world::{World, found, key};
use crate::lookup::Answer;

fn one() -> World {
    let mut world = World::leader();
    world.declare("erp");
    world.run();
    world.writes.clear();
    world.events.clear();
    world
}

fn foreign() -> Service {
    let spec = ServiceSpec {
        selector: Some([("app".to_owned(), "erp".to_owned())].into()),
        ..ServiceSpec::default()
    };
    Service {
        spec: Some(spec),
        ..Service::default()
    }
}

#[test]
fn what_is_edited_by_hand_is_written_back_once() {
    let mut world = one();
    world.cluster.edit(&key("erp"), |resource| {
        let conditions = &mut resource.status.as_mut().unwrap().conditions;
        conditions.last_mut().unwrap().message = "by hand".into();
    });
    assert_eq!(world.written(), ["erp: status"]);
    world.cluster.edit(&key("erp"), |resource| resource.status = None);
    assert_eq!(world.written(), ["erp: status"]);

    let mut service = world.cluster.services[&key("erp")].clone();
    let ports = service.spec.as_mut().unwrap().ports.as_mut().unwrap();
    ports[0].target_port = Some(IntOrString::Int(1));
    world.cluster.put_service(&key("erp"), service);
    assert_eq!(world.written(), ["erp: service"]);

    world.cluster.delete_service(&key("erp"));
    assert_eq!(world.written(), ["erp: service"]);

    let mut slice = world.cluster.slices[&key("erp-landbridge")].clone();
    slice.endpoints.clear();
    world.cluster.put_slice(slice);
    assert_eq!(world.written(), ["erp: slice[2]"]);
    world.cluster.delete_slice(&key("erp-landbridge"));
    assert_eq!(world.written(), ["erp: slice[2]"]);
    assert!(
        world
            .events
            .iter()
            .all(|(_, event)| event.reason == "ConfigurationSuccessful")
    );
    assert_eq!(world.written(), Vec::<String>::new());
}

#[test]
fn of_a_hundred_edits_the_last_one_is_written() {
    let mut world = one();
    for port in 8_001..=8_100 {
        world.cluster.edit(&key("erp"), |resource| {
            resource.spec.service = Some(DeclaredService { port: Some(port) });
        });
        world.hear();
        world.round();
        world.look_up();
    }
    assert_eq!(world.written(), ["erp: service status"]);
    let service = &world.cluster.services[&key("erp")];
    assert_eq!(
        service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port,
        8_100
    );
    let ready = world.condition("erp", types::READY);
    assert_eq!((&*ready.status, ready.observed_generation), ("True", Some(101)));
}

#[test]
fn a_service_of_somebody_else_is_not_touched() {
    let mut world = World::leader();
    world.cluster.put_service(&key("erp"), foreign());
    world.declare("erp");
    assert_eq!(world.written(), ["erp: status"]);
    assert_eq!(
        world.available("erp"),
        "False/ConfigurationError-K8sResourceWithNameAlreadyPresent"
    );
    assert!(world.model.foreign_services().contains(&key("erp")));
    world.cluster.delete_service(&key("erp"));
    world.run();
    assert_eq!(world.available("erp"), "True/ConfigurationSuccessful");
    assert!(!world.model.foreign_services().contains(&key("erp")));

    // The user deletes ours and makes one of their own: our endpoints must not become those of that Service.
    assert_eq!(world.endpoints("erp"), Some(2));
    world.cluster.delete_service(&key("erp"));
    world.cluster.put_service(&key("erp"), foreign());
    world.writes.clear();
    assert_eq!(world.written(), ["erp: status"]);
    let orphans = world.model.orphans();
    let names: Vec<_> = orphans
        .iter()
        .map(|orphan| (orphan.service, &*orphan.name))
        .collect();
    assert_eq!(names, [(false, "erp-landbridge")]);
    world.cluster.delete_slice(&key("erp-landbridge"));
    world.cluster.delete_service(&key("erp"));
    world.run();
    assert_eq!(world.endpoints("erp"), Some(2));
    assert!(world.model.orphans().is_empty());
}

/// The API server knows more than the watch has told: nothing is overwritten.
#[test]
fn a_foreign_service_that_was_not_seen_yet_is_found_by_the_write() {
    let mut world = World::leader();
    world.declare("erp");
    world.round();
    world.look_up();
    world.round();
    world.cluster.put_service(&key("erp"), foreign());
    let late = std::mem::take(&mut world.cluster.told);
    world.write();
    world.cluster.told = late;
    world.run();
    assert!(
        world
            .available("erp")
            .starts_with("False/ConfigurationError-K8sResource")
    );
    assert_eq!(world.cluster.services[&key("erp")].spec, foreign().spec);
    assert_eq!(world.endpoints("erp"), None);
}

/// The answer of a write may come after the watch has told of something later.
#[test]
fn what_happens_during_a_write_is_not_forgotten() {
    let mut world = World::leader();
    world.declare("erp");
    world.round();
    world.look_up();
    world.round();
    let work = world.model.work(&key("erp"), &world.proxies, world.clock);
    assert!(work.service.is_some() && !work.slices.is_empty());
    let done = world.cluster.write(&key("erp"), work);
    world.cluster.delete_service(&key("erp"));
    world.cluster.delete_slice(&key("erp-landbridge"));
    world.hear();
    world.model.done(&key("erp"), done);
    world.run();
    assert!(world.cluster.services.contains_key(&key("erp")), "made again");
    assert_eq!(world.endpoints("erp"), Some(2));

    // The same with a status that is edited by hand meanwhile.
    world.cluster.edit(&key("erp"), |resource| {
        resource.spec.service = Some(DeclaredService { port: Some(81) });
    });
    world.hear();
    world.round();
    world.look_up();
    world.round();
    let work = world.model.work(&key("erp"), &world.proxies, world.clock);
    assert!(work.status.is_some());
    let done = world.cluster.write(&key("erp"), work);
    world.cluster.edit(&key("erp"), |resource| resource.status = None);
    world.hear();
    world.model.done(&key("erp"), done);
    world.run();
    assert_eq!(world.available("erp"), "True/ConfigurationSuccessful");
}

#[test]
fn what_cannot_be_written_is_said_until_it_is_there() {
    let mut world = World::leader();
    world.cluster.refuses = true;
    world.declare("erp");
    world.run_now();
    let key = key("erp");
    world.cluster.refuses = false;
    // Only the status comes through.
    let mut work = world.model.work(&key, &world.proxies, world.clock);
    (work.service, work.slices) = (None, Vec::new());
    let done = world.cluster.write(&key, work);
    let obstacle = Some(crate::plan::Obstacle {
        reason: "ServiceCreationFailed",
        message: "the quota is used up".into(),
    });
    world
        .model
        .done(&key, crate::cluster::model::Done { obstacle, ..done });
    world.hear();
    assert_eq!(world.available("erp"), "False/ServiceCreationFailed");
    // It was written after all: a call that took too long, or another replica.
    let work = world.model.work(&key, &world.proxies, world.clock);
    world.cluster.write(&key, work);
    world.run();
    assert_eq!(world.available("erp"), "True/ConfigurationSuccessful");
}

#[test]
fn a_resource_that_was_made_anew_gets_a_service_of_its_own() {
    for seen_gone in [true, false] {
        let mut world = one();
        let old = world.cluster.services[&key("erp")].clone();
        world.cluster.destinations.remove(&key("erp"));
        if seen_gone {
            let gone = super::cluster::gone(&key("erp"));
            world
                .cluster
                .told
                .push_back(super::cluster::Told::Destination(gone));
        }
        world.declare("erp");
        let renewed = world.round().renewed;
        assert_eq!(renewed.is_empty(), seen_gone, "what failed before may work now");
        world.run();
        let new = &world.cluster.services[&key("erp")];
        assert_ne!(old.metadata.owner_references, new.metadata.owner_references);
        assert_eq!(world.available("erp"), "True/ConfigurationSuccessful");
        world.cluster.collect_garbage();
        world.writes.clear();
        assert_eq!(world.written(), Vec::<String>::new());
        assert!(world.model.orphans().is_empty());
        world.check();
    }
}

#[test]
fn a_list_replaces_what_was_known() {
    let mut world = one();
    world.declare("crm");
    world.cluster.put_service(&key("other"), foreign());
    world.run();
    world.writes.clear();
    world.cluster.destinations.remove(&key("crm"));
    world.cluster.services.remove(&key("erp"));
    world.cluster.services.remove(&key("other"));
    world.cluster.slices.remove(&key("erp-landbridge"));
    world.list();
    assert!(!world.model.foreign_services().contains(&key("other")));
    assert_eq!(world.written(), ["erp: service slice[2]"]);
    assert!(!world.routes.contains_key(&key("crm")));
    let orphans = world.model.orphans();
    assert_eq!(orphans.len(), 2, "{orphans:?}");
    world.list();
    assert_eq!(world.written(), Vec::<String>::new());
    world.check();
}

#[test]
fn one_that_cannot_be_read_does_not_disturb_the_others() {
    let mut world = one();
    world.declare("crm");
    world.run();
    world.writes.clear();
    world.events.clear();
    world.cluster.unreadable.insert(key("crm"));
    world.cluster.tell(&key("crm"));
    world.run();
    assert!(
        world
            .condition("crm", types::AVAILABLE)
            .message
            .contains("destinationRef")
    );
    assert!(!world.routes.contains_key(&key("crm")) && world.routes.contains_key(&key("erp")));
    assert_eq!(world.events.len(), 1);
    // The cluster's answer to the write can be read, but the watch cannot tell: it is not written again and again.
    world.writes.clear();
    for _ in 0..3 {
        world.cluster.tell(&key("crm"));
        assert_eq!(world.written(), Vec::<String>::new());
    }
    world.cluster.unreadable.clear();
    world.cluster.tell(&key("crm"));
    world.run();
    assert_eq!(world.available("crm"), "True/ConfigurationSuccessful");
    world.check();
}

#[test]
fn what_is_still_unknown_is_written_only_if_it_stays_so() {
    let mut world = World::leader();
    world.answers = false;
    world.declare("erp");
    world.run_now();
    world.clock += Duration::from_millis(1_900);
    world.run_now();
    assert!(world.writes.is_empty());
    world.clock += Duration::from_millis(200);
    world.run_now();
    assert_eq!(world.writes.len(), 1);
    assert_eq!(world.available("erp"), "Unknown/Pending");
    assert!(world.events.is_empty());
    world.answers = true;
    world.run();
    assert_eq!(world.available("erp"), "True/ConfigurationSuccessful");
}

/// With thousands of new destinations the queue is longer than a status may settle; it must not double the writes.
#[test]
fn a_status_waits_for_the_service_that_it_is_about() {
    let mut world = World::leader();
    world.declare("erp");
    world.hear();
    world.round();
    world.look_up();
    world.round();
    world.clock += SETTLING * 5;
    world.round();
    world.run();
    let statuses = world.writes.iter().filter(|(_, what)| what.contains("status"));
    assert_eq!(statuses.count(), 1, "{:?}", world.writes);
    assert_eq!(world.available("erp"), "True/ConfigurationSuccessful");
}

#[test]
fn each_change_is_told_once() {
    let mut world = World::leader();
    world.declare("erp");
    world.run();
    let reasons = |world: &mut World| -> Vec<String> {
        world.run();
        let events = std::mem::take(&mut world.events).into_iter();
        events.map(|(_, event)| event.reason).collect()
    };
    assert_eq!(reasons(&mut world), ["ConfigurationSuccessful"]);
    for (answer, reason) in [
        (
            Ok(Answer::NotFound("create it".into())),
            "ConfigurationError-ReferencedDestination-NotFound",
        ),
        (found("HTTP"), "ConfigurationSuccessful"),
    ] {
        world.store.insert("erp".into(), answer);
        for _ in 0..3 {
            world.clock += Duration::from_secs(200);
            world.look_up();
            world.model.mark_all();
        }
        assert_eq!(reasons(&mut world), [reason]);
    }
}

#[test]
fn a_gateway_is_served_without_a_look_up() {
    let mut world = World::leader();
    world.answers = false;
    world.declare_as("any", DestinationSpec::named("*"));
    world.run();
    assert!(world.routes[&key("any")].is_gateway());
    assert_eq!(world.available("any"), "True/ConfigurationSuccessful");
    assert_eq!(world.model.next_lookup_at(), None);
}

#[test]
fn endpoints_are_asked_for_once_in_a_decision() {
    let mut world = one();
    world.proxies.asked.set(0);
    world.model.mark_all();
    world.round();
    assert_eq!(world.proxies.asked.get(), 1);
}
