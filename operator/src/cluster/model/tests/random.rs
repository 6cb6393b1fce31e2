//! Whatever happens in whatever order: ports are unique, policies say what routes say, and it comes to rest.

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use landbridge_crds::destination::{AccessControl, AccessScope, DestinationSpec, ServiceSpec};
use proptest::collection::vec;
use proptest::prelude::*;

use super::world::{World, found, key, settings};
use crate::cluster::model::{Done, Role};
use crate::lookup::{Answer, Failure};

/// Destinations there may be; two namespaces, so that names occur twice.
const NAMES: [&str; 5] = ["a", "b", "crm/a", "crm/b", "c"];

#[derive(Debug, Clone)]
enum Happens {
    Declare(usize),
    Delete(usize),
    Edit(usize, i32),
    Scope(usize, bool),
    Status(usize, Option<u16>),
    Foreign(usize),
    NoService(usize),
    NoSlice(usize),
    Unreadable(usize, bool),
    Collect,
    List,
    Hear(usize),
    Round,
    LookUp,
    Answer(usize, u8),
    /// Starts a write, hears so much before its answer.
    Write(usize),
    Refuse(bool),
    Proxies(bool),
    Settled(bool),
    Role(bool),
    Restart(bool),
    Later(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    let name = || 0..NAMES.len();
    prop_oneof![
        6 => name().prop_map(Declare),
        2 => name().prop_map(Delete),
        2 => (name(), 1..5).prop_map(|(name, port)| Edit(name, port)),
        1 => (name(), any::<bool>()).prop_map(|(name, wide)| Scope(name, wide)),
        1 => (name(), proptest::option::of(10_000u16..10_006)).prop_map(|(name, port)| Status(name, port)),
        1 => name().prop_map(Foreign),
        2 => name().prop_map(NoService),
        1 => name().prop_map(NoSlice),
        1 => (name(), any::<bool>()).prop_map(|(name, bad)| Unreadable(name, bad)),
        1 => Just(Collect),
        1 => Just(List),
        8 => (1usize..6).prop_map(Hear),
        8 => Just(Round),
        4 => Just(LookUp),
        2 => (name(), 0u8..4).prop_map(|(name, answer)| Answer(name, answer)),
        6 => (0usize..4).prop_map(Write),
        1 => any::<bool>().prop_map(Refuse),
        1 => any::<bool>().prop_map(Proxies),
        1 => any::<bool>().prop_map(Settled),
        1 => any::<bool>().prop_map(Role),
        1 => any::<bool>().prop_map(Restart),
        3 => (1u64..4_000).prop_map(Later),
    ]
}

fn role(leads: bool) -> Role {
    if leads { Role::Leader } else { Role::Follower }
}

fn narrow() -> crate::cluster::model::Settings {
    let mut settings = settings();
    settings.ports = 10_000..=10_003;
    settings
}

fn there(world: &World, name: usize) -> bool {
    world.cluster.destinations.contains_key(&key(NAMES[name]))
}

/// What users and Kubernetes do.
fn outside(world: &mut World, what: &Happens) {
    match *what {
        Happens::Declare(name) if !there(world, name) => {
            let spec = DestinationSpec::named(key(NAMES[name]).name);
            world.cluster.declare(&key(NAMES[name]), spec);
        }
        Happens::Delete(name) => {
            world.cluster.unreadable.remove(&key(NAMES[name]));
            world.cluster.delete(&key(NAMES[name]));
        }
        Happens::Edit(name, port) if there(world, name) => {
            world.cluster.edit(&key(NAMES[name]), |resource| {
                resource.spec.service = Some(ServiceSpec { port: Some(port) });
            });
        }
        Happens::Scope(name, wide) if there(world, name) => {
            let scope = if wide {
                AccessScope::ClusterWide
            } else {
                AccessScope::Namespaced
            };
            world.cluster.edit(&key(NAMES[name]), |resource| {
                resource.spec.access_control = Some(AccessControl { scope: Some(scope) });
            });
        }
        Happens::Status(name, port) if there(world, name) => {
            world.cluster.edit(&key(NAMES[name]), |resource| {
                resource.status.get_or_insert_default().proxy_port = port.map(i32::from);
            });
        }
        Happens::Foreign(name) => world.cluster.put_service(&key(NAMES[name]), Service::default()),
        Happens::NoService(name) => world.cluster.delete_service(&key(NAMES[name])),
        Happens::NoSlice(name) => {
            let mut slice = key(NAMES[name]);
            slice.name.push_str("-landbridge");
            world.cluster.delete_slice(&slice);
        }
        Happens::Unreadable(name, bad) if there(world, name) => {
            if bad {
                world.cluster.unreadable.insert(key(NAMES[name]));
            } else {
                world.cluster.unreadable.remove(&key(NAMES[name]));
            }
            world.cluster.tell(&key(NAMES[name]));
        }
        Happens::Collect => world.cluster.collect_garbage(),
        Happens::List => world.cluster.list(),
        _ => {}
    }
}

/// What the operator and its surroundings do.
fn inside(world: &mut World, what: &Happens) {
    match *what {
        Happens::Hear(count) => hear(world, count),
        Happens::Round => drop(world.round()),
        Happens::LookUp => {
            world.look_up();
        }
        Happens::Answer(name, answer) => {
            let answer = match answer {
                0 => found("HTTP"),
                1 => found("TCP"),
                2 => Ok(Answer::NotFound("create it".into())),
                _ => Err(Failure("down".into())),
            };
            world.store.insert(key(NAMES[name]).name, answer);
        }
        Happens::Write(heard) => write(world, heard),
        Happens::Refuse(refuses) => world.cluster.refuses = refuses,
        Happens::Proxies(there) => {
            world.proxies.addresses = if there { vec!["10.0.0.1"] } else { Vec::new() };
            world.model.mark_all();
        }
        Happens::Settled(settled) => {
            world.proxies.settled = settled;
            world.model.mark_all();
        }
        Happens::Role(leads) => {
            world.queue.clear();
            world.model.set_role(role(leads));
        }
        Happens::Restart(leads) => {
            world.restart(narrow(), role(leads));
            world.cluster.list();
        }
        Happens::Later(milliseconds) => world.clock += Duration::from_millis(milliseconds),
        _ => {}
    }
}

fn hear(world: &mut World, count: usize) {
    for _ in 0..count {
        world.hear_one();
    }
}

fn write(world: &mut World, heard: usize) {
    let Some(key) = world.queue.take(world.clock) else {
        return;
    };
    let work = world.model.work(&key, &world.proxies, world.clock);
    if work.is_empty() {
        world.queue.succeeded(&key);
        if let Some(at) = work.again {
            world.queue.add(&key, at);
        }
        return;
    }
    let done: Done = world.cluster.write(&key, work);
    hear(world, heard);
    if done.failed {
        world.queue.failed(&key, world.clock);
    } else {
        world.queue.succeeded(&key);
    }
    world.model.done(&key, done);
}

/// What a hand may have done that nobody undoes.
fn tidy(world: &mut World) {
    world.cluster.refuses = false;
    world.store.retain(|_, answer| answer.is_ok());
    world.cluster.unreadable.clear();
    world.proxies.addresses = vec!["10.0.0.1"];
    world.proxies.settled = true;
    world.queue.clear();
    world.model.set_role(Role::Follower);
    world.model.set_role(Role::Leader);
    world.cluster.list();
    world.cluster.collect_garbage();
    world.clock += Duration::from_secs(300);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_comes_to_rest(story in vec(happens(), 1..120)) {
        let mut world = World::new(narrow(), Role::Leader);
        world.cluster.list();
        for what in &story {
            outside(&mut world, what);
            inside(&mut world, what);
            if matches!(what, Happens::Round) {
                world.check();
            }
        }
        tidy(&mut world);
        world.run();
        world.check();
        for (key, route) in &world.routes {
            let observed = world.cluster.services.get(key).and_then(crate::cluster::children::target);
            if !world.model.foreign_services().contains(key) {
                prop_assert_eq!(observed, Some((route.port, route.protocol)), "{}", key);
            }
        }
        world.writes.clear();
        world.events.clear();
        // A second reconcile writes nothing, nor does another process.
        world.model.mark_all();
        world.cluster.list();
        world.run();
        prop_assert!(world.writes.is_empty(), "{:?}", world.writes);
        let routes = world.routes.clone();
        world.restart(narrow(), Role::Leader);
        world.list();
        world.run();
        prop_assert!(world.writes.is_empty() && world.events.is_empty(), "{:?} {:?}", world.writes, world.events);
        prop_assert_eq!(&world.routes, &routes);
        let mut follower = World::new(narrow(), Role::Follower);
        std::mem::swap(&mut follower.cluster, &mut world.cluster);
        std::mem::swap(&mut follower.store, &mut world.store);
        follower.list();
        follower.run();
        prop_assert_eq!(&follower.routes, &routes);
    }
}
