use super::*;

fn key(name: &str) -> RouteKey {
    RouteKey::new("default", name)
}

fn wanted(entries: &[(&str, Option<u16>)]) -> BTreeMap<RouteKey, Option<u16>> {
    entries.iter().map(|(name, port)| (key(name), *port)).collect()
}

fn memory(entries: &[(&str, u16)]) -> Memory {
    Memory::new(entries.iter().map(|(name, port)| (key(name), *port)))
}

fn ports(allocation: &Allocation) -> Vec<(&str, Option<u16>)> {
    allocation
        .iter()
        .map(|(key, port)| (key.name.as_str(), port.as_ref().ok().copied()))
        .collect()
}

#[test]
fn ranges_are_read() {
    for (text, expected) in [
        ("0", Some(PortPolicy::Any)),
        ("20000-20999", Some(PortPolicy::Range(20000..=20999))),
        (" 1 - 65535 ", Some(PortPolicy::Range(1..=65535))),
        ("8080", Some(PortPolicy::Range(8080..=8080))),
        ("0-5", None),
        ("9-8", None),
        ("1-65536", None),
        ("a", None),
        ("", None),
    ] {
        assert_eq!(text.parse().ok(), expected, "{text:?}");
    }
    let error = "9-8".parse::<PortPolicy>().unwrap_err().to_string();
    assert!(error.contains("20000-20999"), "{error}");
}

#[test]
fn declared_ports_win_and_the_rest_comes_from_the_range() {
    let policy = PortPolicy::Range(100..=103);
    let wanted = wanted(&[("a", None), ("b", Some(100)), ("c", None), ("d", Some(8080))]);
    let (allocation, remembered) = allocate(&wanted, &policy, &Memory::default(), &Allocation::new());
    assert_eq!(
        ports(&allocation),
        [
            ("a", Some(101)),
            ("b", Some(100)),
            ("c", Some(102)),
            ("d", Some(8080))
        ]
    );
    assert_eq!(remembered, memory(&[("a", 101), ("c", 102)]));
    assert_eq!(
        allocate(&wanted, &policy, &remembered, &Allocation::new()),
        (allocation, remembered),
        "the second time changes nothing"
    );
}

#[test]
fn ports_are_stable_when_others_come_and_go() {
    let policy = PortPolicy::Range(100..=102);
    let (_, first) = allocate(
        &wanted(&[("b", None), ("c", None)]),
        &policy,
        &Memory::default(),
        &Allocation::new(),
    );
    // "a" sorts first and must not push the others away; "c" is gone and keeps its port while there are others.
    let (allocation, second) = allocate(
        &wanted(&[("a", None), ("b", None)]),
        &policy,
        &first,
        &Allocation::new(),
    );
    assert_eq!(ports(&allocation), [("a", Some(102)), ("b", Some(100))]);
    let (allocation, third) = allocate(
        &wanted(&[("a", None), ("b", None), ("c", None)]),
        &policy,
        &second,
        &Allocation::new(),
    );
    assert_eq!(
        ports(&allocation),
        [("a", Some(102)), ("b", Some(100)), ("c", Some(101))]
    );
    // Now somebody else needs the port of one that is gone.
    let (allocation, fourth) = allocate(
        &wanted(&[("a", None), ("c", None), ("d", None)]),
        &policy,
        &third,
        &Allocation::new(),
    );
    assert_eq!(
        ports(&allocation),
        [("a", Some(102)), ("c", Some(101)), ("d", Some(100))]
    );
    assert_eq!(fourth, memory(&[("a", 102), ("c", 101), ("d", 100)]));
}

#[test]
fn what_cannot_have_a_port_is_told_what_to_change() {
    let policy = PortPolicy::Range(100..=101);
    let wanted = wanted(&[
        ("a", None),
        ("b", Some(7)),
        ("c", Some(7)),
        ("d", None),
        ("e", None),
    ]);
    let (allocation, _) = allocate(&wanted, &policy, &Memory::default(), &Allocation::new());
    assert_eq!(
        ports(&allocation),
        [
            ("a", Some(100)),
            ("b", Some(7)),
            ("c", None),
            ("d", Some(101)),
            ("e", None)
        ]
    );
    let message = |name| allocation[&key(name)].clone().unwrap_err().to_string();
    assert_eq!(
        message("c"),
        "port 7 belongs to default/b already: choose another spec.service.port, or set that of default/b to another \
         port first"
    );
    assert!(
        message("e").starts_with("all 2 ports of the range 100-101 are in use: enlarge"),
        "{}",
        message("e")
    );
}

#[test]
fn a_declared_port_takes_none_from_a_present_destination() {
    let policy = PortPolicy::Range(100..=101);
    let (first, remembered) = allocate(
        &wanted(&[("z", None)]),
        &policy,
        &Memory::default(),
        &Allocation::new(),
    );
    assert_eq!(ports(&first), [("z", Some(100))]);
    // "b" sorts first and declares it: neither that nor a restart, which leaves the memory alone, moves "z".
    let both = wanted(&[("b", Some(100)), ("z", None)]);
    let (second, kept) = allocate(&both, &policy, &remembered, &first);
    let (restarted, _) = allocate(&both, &policy, &kept, &Allocation::new());
    assert_eq!(ports(&second), [("b", None), ("z", Some(100))]);
    assert_eq!((&restarted, &kept), (&second, &remembered));
    assert_eq!(
        second[&key("b")].clone().unwrap_err().to_string(),
        "port 100 belongs to default/z already: choose another spec.service.port, or set that of default/z to \
         another port first"
    );
    // Both ways out that the message names.
    let (moved, _) = allocate(
        &wanted(&[("b", Some(100)), ("z", Some(101))]),
        &policy,
        &kept,
        &second,
    );
    assert_eq!(ports(&moved), [("b", Some(100)), ("z", Some(101))]);
    let (other, _) = allocate(&wanted(&[("b", Some(101)), ("z", None)]), &policy, &kept, &second);
    assert_eq!(ports(&other), [("b", Some(101)), ("z", Some(100))]);
}

#[test]
fn a_declared_port_takes_a_remembered_one_of_an_absent_destination_over() {
    let remembered = memory(&[("a", 100)]);
    let policy = PortPolicy::Range(100..=101);
    let (first, kept) = allocate(
        &wanted(&[("b", Some(100))]),
        &policy,
        &remembered,
        &Allocation::new(),
    );
    assert_eq!(ports(&first), [("b", Some(100))]);
    let both = wanted(&[("a", None), ("b", Some(100))]);
    let (second, _) = allocate(&both, &policy, &kept, &first);
    assert_eq!(
        ports(&second),
        [("a", Some(101)), ("b", Some(100))],
        "who comes back takes it from nobody either"
    );
}

#[test]
fn declared_ports_are_swapped_in_one_change() {
    let policy = PortPolicy::Range(100..=101);
    let (first, remembered) = allocate(
        &wanted(&[("a", Some(100)), ("b", Some(7))]),
        &policy,
        &Memory::default(),
        &Allocation::new(),
    );
    let swapped = wanted(&[("a", Some(7)), ("b", Some(100))]);
    let (second, _) = allocate(&swapped, &policy, &remembered, &first);
    assert_eq!(ports(&second), [("a", Some(7)), ("b", Some(100))]);
}

#[test]
fn memories_of_another_range_or_with_doubles_do_no_harm() {
    let wanted = wanted(&[("a", None), ("b", None)]);
    let policy = PortPolicy::Range(100..=101);
    let (allocation, _) = allocate(
        &wanted,
        &policy,
        &memory(&[("a", 5), ("b", 101), ("z", 101)]),
        &Allocation::new(),
    );
    assert_eq!(ports(&allocation), [("a", Some(100)), ("b", Some(101))]);
    let (allocation, remembered) = allocate(
        &wanted,
        &PortPolicy::Any,
        &memory(&[("a", 5)]),
        &Allocation::new(),
    );
    assert_eq!(ports(&allocation), [("a", Some(0)), ("b", Some(0))]);
    assert_eq!(
        remembered,
        memory(&[("a", 5)]),
        "for the day on which a range is configured again"
    );
}

#[test]
fn who_has_a_declared_port_keeps_it() {
    let policy = PortPolicy::Any;
    let (first, _) = allocate(
        &wanted(&[("b", Some(7))]),
        &policy,
        &Memory::default(),
        &Allocation::new(),
    );
    let both = wanted(&[("a", Some(7)), ("b", Some(7))]);
    let (second, _) = allocate(&both, &policy, &Memory::default(), &first);
    assert_eq!(ports(&second), [("a", None), ("b", Some(7))]);
    let (third, _) = allocate(&wanted(&[("a", Some(7))]), &policy, &Memory::default(), &second);
    assert_eq!(ports(&third), [("a", Some(7))], "once the owner is gone");
}
