//! Namespaces that are chosen by label: what is another installation's is left alone.

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;

use super::*;
use crate::cluster::model::SeenNamespace;
use crate::cluster::watch::Seen;

const LABEL: &str = "which";

fn namespace(name: &str, owner: Option<&str>) -> SeenNamespace {
    let labels: Value = owner.map_or(json!({}), |owner| json!({LABEL: owner}));
    let object: PartialObjectMeta<Namespace> =
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Namespace",
                                      "metadata": {"name": name, "labels": labels}}))
        .unwrap();
    Seen::Present(Box::new(object))
}

/// A leader's table of the installation `here`, to which `shop` belongs if it has the label.
fn labelled(shop: Option<&str>) -> Channels {
    let mut table = Channels::new(ChannelOptions::default(), Managed::labelled(LABEL, "here"));
    let (key, facts) = web();
    table.set_service(&key, facts);
    table.services_listed();
    table.set_leading(true, at(0));
    table.settle();
    for seen in [Seen::Restarted, namespace("shop", shop), Seen::Listed] {
        table.see_namespace(seen, at(0));
    }
    table
}

fn orders() -> ChannelKey {
    key(Some("shop"), "orders")
}

#[test]
fn a_channel_of_another_installation_is_neither_offered_nor_written_to() {
    let mut table = labelled(Some("there"));
    let mut resource = channel("orders", 0, to_web("orders"));
    resource.finalizers = vec![FINALIZER.to_owned()];
    resource.observed.address = Some("as the other one wrote it".into());
    table.set(resource.clone(), at(0));
    table.set(mapping("orders", 5, to_address("orders")), at(0));
    let planned = table.plan(at(0), 100);
    assert_eq!(keys(&planned), ["orders", "shop/orders"]);
    assert!(
        planned[0].route.is_some(),
        "an older claim of others counts for nothing"
    );
    assert_eq!(
        (&planned[1].route, planned[1].finalizer),
        (&None, Finalizer::Keep)
    );
    assert_eq!((table.pending(&orders()), table.len()), (None, 1));
    assert_eq!(table.claim_of(&resource), None, "nobody is refused because of it");
    assert_eq!(
        table.objection(&channel("x", 0, to_address("y"))),
        None,
        "nor is anything of it judged"
    );

    // What the other one does later is nothing to restore, not even before it is looked at.
    resource.observed.address = None;
    table.set(resource.clone(), at(1));
    assert_eq!(table.pending(&orders()), None);
    assert_eq!(plan_one(&mut table, 1).events, []);
    assert_eq!(table.pending(&orders()), None);

    // It is deleted, and its own installation is no more.
    resource.deleted = Some(at(10));
    table.set(resource, at(10));
    assert_eq!(plan_one(&mut table, 10).finalizer, Finalizer::Keep);
    assert_eq!(table.next_due(), Some(at(130)));
    assert_eq!(plan_one(&mut table, 130).finalizer, Finalizer::Remove);
    assert_eq!(table.pending(&orders()).unwrap().status, None);
}

#[test]
fn a_namespace_that_loses_the_label_is_let_go_and_one_that_gains_it_is_planned() {
    let mut table = labelled(Some("here"));
    let mut resource = channel("orders", 0, to_web("orders"));
    table.set(resource.clone(), at(0));
    table.set_held(&orders(), held(&[""]), at(0));
    assert_eq!(plan_one(&mut table, 0).finalizer, Finalizer::Add);
    table.written(&table.pending(&orders()).unwrap());
    let status = plan_one(&mut table, 1).status;
    resource.observed = status.clone();
    resource.finalizers = vec![FINALIZER.to_owned()];
    table.set(resource.clone(), at(1));
    table.plan(at(1), 100);

    assert_eq!(
        table.see_namespace(namespace("shop", Some("there")), at(2)),
        [orders()]
    );
    let planned = plan_one(&mut table, 2);
    assert_eq!((planned.route, planned.route_changed), (None, true));
    assert_eq!((&planned.status, planned.events), (&status, Vec::new()));
    assert_eq!((table.routes(), table.len()), (Vec::new(), 0));
    let write = table.pending(&orders()).unwrap();
    assert_eq!((&write.status, write.finalizer), (&None, Finalizer::Remove));
    table.written(&write);
    // The next finalizer is the other installation's: no fight over it.
    table.set(resource.clone(), at(3));
    table.plan(at(3), 100);
    assert_eq!(table.pending(&orders()), None);
    // Nor does a Service, a report or a new term of this leader bring anything back.
    table.set_held(&orders(), held(&[]), at(4));
    table.set_leading(false, at(4));
    table.set_leading(true, at(4));
    let (web, facts) = service("web", json!({"ports": [{"name": "http", "port": 9}]}));
    table.set_service(&web, facts);
    table.plan(at(4), 100);
    assert_eq!((table.pending(&orders()), table.routes()), (None, Vec::new()));

    assert_eq!(
        table.see_namespace(namespace("shop", Some("here")), at(5)),
        [orders()]
    );
    let planned = plan_one(&mut table, 5);
    assert_eq!(planned.route.unwrap().address, "web.shop.svc:9");
    assert!(table.pending(&orders()).unwrap().status.is_some());
    // A list of namespaces that misses one.
    table.see_namespace(Seen::Restarted, at(6));
    assert_eq!(table.see_namespace(Seen::Listed, at(6)), [orders()]);
    table.plan(at(6), 100);
    assert_eq!(table.routes(), []);
}

#[test]
fn a_claim_is_free_once_its_namespace_is_let_go() {
    let mut table = labelled(Some("here"));
    table.set(channel("orders", 0, to_web("orders")), at(0));
    table.set(mapping("orders", 5, to_address("orders")), at(0));
    table.plan(at(0), 100);
    let offered = |table: &Channels| -> Vec<_> { table.routes().into_iter().map(|one| one.key).collect() };
    assert_eq!(offered(&table), [orders()]);
    table.see_namespace(namespace("shop", None), at(1));
    assert_eq!(keys(&table.plan(at(1), 100)), ["orders", "shop/orders"]);
    assert_eq!(offered(&table), [key(None, "orders")]);
    table.see_namespace(namespace("shop", Some("here")), at(2));
    table.plan(at(2), 100);
    assert_eq!(offered(&table), [orders()]);
}

#[test]
fn a_finalizer_that_was_on_its_way_is_taken_back() {
    let mut table = labelled(Some("here"));
    table.set(channel("orders", 0, to_web("orders")), at(0));
    table.set_held(&orders(), held(&[""]), at(0));
    table.plan(at(0), 100);
    let write = table.pending(&orders()).unwrap();
    table.see_namespace(namespace("shop", None), at(1));
    table.plan(at(1), 100);
    assert_eq!(table.pending(&orders()), None);
    table.written(&write);
    assert_eq!(plan_one(&mut table, 2).finalizer, Finalizer::Remove);
}
