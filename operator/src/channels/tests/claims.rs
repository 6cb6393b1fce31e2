//! Who wins, where two want the same.

use super::*;

#[test]
fn the_older_of_two_claims_wins_over_both_kinds() {
    let mut table = table();
    table.set(channel("late", 20, to_web("orders")), at(20));
    table.set(mapping("early", 10, to_address("orders")), at(20));
    // Another type, another subaccount, another service id: no clash.
    table.set(
        mapping(
            "rfc",
            30,
            json!({"type": "RFC", "serviceId": "orders", "internalAddress": "a:1"}),
        ),
        at(20),
    );
    let mut other = to_address("orders");
    other["subaccountId"] = json!("other");
    table.set(mapping("other", 30, other), at(20));
    table.set(mapping("upper", 30, to_address("Orders")), at(20));
    let planned = table.plan(at(20), 100);
    let refused: Vec<_> = planned.iter().filter(|one| one.route.is_none()).collect();
    assert_eq!(refused.len(), 1);
    assert!(
        summary(refused[0]).starts_with("Accepted=False/Duplicate"),
        "{}",
        summary(refused[0])
    );
    let text = message(refused[0], "Accepted");
    assert!(
        text.contains("the ServiceMapping early") && text.contains("change the serviceId"),
        "{text}"
    );

    // With the winner gone, the next one is served; only those two are looked at.
    assert!(table.remove(&key(None, "early")), "it was offered");
    let planned = plan_one(&mut table, 21);
    assert_eq!(
        (planned.key.to_string().as_str(), planned.route.is_some()),
        ("shop/late", true)
    );

    // An older one takes over, also when it was known under another claim.
    table.set(mapping("older", 5, to_address("else")), at(22));
    assert_eq!(keys(&table.plan(at(22), 100)), ["older"]);
    let mut moved = mapping("older", 5, to_address("orders"));
    moved.generation = Some(2);
    assert!(table.set(moved, at(23)), "a new generation");
    let planned = table.plan(at(23), 100);
    assert_eq!(keys(&planned), ["older", "shop/late"]);
    assert_eq!(
        [planned[0].route.is_some(), planned[1].route.is_some()],
        [true, false]
    );
}

#[test]
fn of_one_age_the_kind_and_then_the_name_decide() {
    let mut table = table();
    table.set(mapping("a", 0, to_address("orders")), at(0));
    table.set(channel("b", 0, to_web("orders")), at(0));
    table.set(channel("c", 0, to_web("orders")), at(0));
    let planned = table.plan(at(0), 100);
    let served: Vec<_> = planned
        .iter()
        .filter(|one| one.route.is_some())
        .map(|one| one.key.to_string())
        .collect();
    assert_eq!(served, ["shop/b"]);
}

#[test]
fn what_is_refused_or_being_deleted_claims_nothing() {
    let mut table = table();
    let foreign = json!({"type": "TCP", "serviceId": "orders", "internalAddress": "db.other.svc:5432"});
    table.set(channel("refused", 0, foreign), at(0));
    let mut leaving = channel("leaving", 1, to_web("orders"));
    leaving.deleted = Some(at(2));
    table.set(leaving, at(3));
    table.set(channel("good", 5, to_web("orders")), at(5));
    let planned = table.plan(at(5), 100);
    let served: Vec<_> = planned
        .iter()
        .filter(|one| one.route.is_some())
        .map(|one| one.key.to_string())
        .collect();
    assert_eq!(served, ["shop/good"]);
    let leaving = planned.iter().find(|one| one.key.name == "leaving").unwrap();
    assert!(
        summary(leaving).contains("Programmed=False/Deleting Ready=False"),
        "{}",
        summary(leaving)
    );
}
