use super::*;

fn mapping(prefix_match: PrefixMatch, resources: Vec<Resource>) -> Mapping {
    Mapping {
        virtual_host: "virtual".to_owned(),
        virtual_port: 1234,
        internal_host: "internal".to_owned(),
        internal_port: 80,
        protocol: SystemProtocol::Http,
        host_in_header: HostInHeader::Virtual,
        prefix_match,
        backend_ca: None,
        resources,
    }
}

fn exact(path: &str) -> Resource {
    Resource::new(path, true).unwrap()
}

fn tree(path: &str) -> Resource {
    Resource::new(path, false).unwrap()
}

const SEGMENT: PrefixMatch = PrefixMatch::Segment;
const STRING: PrefixMatch = PrefixMatch::String;

/// Cases and the ways around them.
#[test]
fn resources_cover_what_they_say() {
    use Verdict::{Allowed, Denied};
    const ACCOUNTING: &str = "/production/accounting";
    let cases = [
        // exact, queries are cut off before (see the HTTP tests).
        (SEGMENT, exact(ACCOUNTING), "/production/accounting", Allowed),
        (SEGMENT, exact(ACCOUNTING), "/production/accounting/", Denied),
        (SEGMENT, exact(ACCOUNTING), "/production/accounting2", Denied),
        (STRING, exact(ACCOUNTING), "/production/accounting2", Denied),
        (SEGMENT, exact(ACCOUNTING), "/production/Accounting", Denied),
        // the vendor's prefix is letters, ours is segments.
        (
            STRING,
            tree(ACCOUNTING),
            "/production/accounting-plus-some-more-stuff-here",
            Allowed,
        ),
        (
            SEGMENT,
            tree(ACCOUNTING),
            "/production/accounting-plus-some-more-stuff-here",
            Denied,
        ),
        (SEGMENT, tree(ACCOUNTING), "/production/accounting", Allowed),
        (SEGMENT, tree(ACCOUNTING), "/production/accounting/", Allowed),
        (
            SEGMENT,
            tree(ACCOUNTING),
            "/production/accounting/2026/11",
            Allowed,
        ),
        (SEGMENT, tree(ACCOUNTING), "/production", Denied),
        (SEGMENT, tree("/a/"), "/a/b", Allowed),
        (SEGMENT, tree("/a/"), "/a", Denied),
        //
        (SEGMENT, tree("/"), "/anything/at/all", Allowed),
        (SEGMENT, exact("/"), "/anything", Denied),
        //
        (SEGMENT, tree("/").enabled(false), "/", Denied),
        // Around the rule.
        (SEGMENT, tree("/public"), "/public/../admin", Denied),
        (SEGMENT, tree("/public"), "/public/%2e%2e/admin", Denied),
        (SEGMENT, tree("/public"), "/admin/../public", Denied),
        (STRING, tree("/public"), "/public/../admin", Denied),
        (SEGMENT, tree("/public"), "/public/a/../b", Allowed),
        (SEGMENT, tree("/public"), "//public/b", Allowed),
        (SEGMENT, tree("/public"), "/%70ublic/b", Allowed),
        (SEGMENT, tree("/public"), "/public;x=1/b", Denied),
        (SEGMENT, tree("/public"), "/public/b;jsessionid=1", Allowed),
        (SEGMENT, tree("/odata;mo"), "/odata;mo/Items", Allowed),
        (SEGMENT, tree("/odata;mo"), "/odata/Items", Denied),
        (SEGMENT, tree("/a%20b"), "/a%20b/c", Allowed),
        (SEGMENT, tree("/#x"), "/%23x", Allowed),
    ];
    for (prefix, resource, path, expected) in cases {
        let text = format!("{resource:?} {path}");
        assert_eq!(
            mapping(prefix, vec![resource]).check(path, Change::No),
            expected,
            "{text}"
        );
    }
    let open = mapping(SEGMENT, vec![tree("/")]);
    for path in ["/public/..;/admin", "/a%2fb", "/%2500", "*", "/../x"] {
        assert!(
            matches!(open.check(path, Change::No), Verdict::Ambiguous(_)),
            "{path}"
        );
    }
}

#[test]
fn nothing_is_exposed_by_default() {
    assert_eq!(
        mapping(SEGMENT, Vec::new()).check("/", Change::No),
        Verdict::Denied
    );
    assert!(Systems::default().find("virtual", 1234).is_none());
}

/// Case A-06.
#[test]
fn upgrades_need_a_resource_that_allows_them() {
    let both = mapping(SEGMENT, vec![tree("/"), tree("/ws").upgrades(true)]);
    assert_eq!(both.check("/ws/chat", Change::WebSocket), Verdict::Allowed);
    assert_eq!(both.check("/other", Change::WebSocket), Verdict::UpgradeDenied);
    assert_eq!(both.check("/ws/chat", Change::Other), Verdict::UpgradeDenied);
    assert_eq!(both.check("/other", Change::No), Verdict::Allowed);
    let suspended = mapping(SEGMENT, vec![tree("/ws").upgrades(true).enabled(false)]);
    assert_eq!(suspended.check("/ws", Change::WebSocket), Verdict::Denied);
}

#[test]
fn resources_are_checked_when_configured() {
    for (path, expected) in [
        ("a", "begin with /"),
        ("/a?b=c", "query"),
        ("/a%2fb", "ambiguous"),
        ("/a/../b", "dot segments"),
        ("//a", "empty"),
    ] {
        let error = Resource::new(path, false).unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
}

/// Cases.
#[test]
fn systems_are_found_by_host_and_port() {
    let mut other = mapping(SEGMENT, vec![tree("/only")]);
    other.virtual_port = 443;
    let (systems, repeated) = Systems::new(vec![mapping(SEGMENT, vec![tree("/")]), other, {
        let mut twice = mapping(SEGMENT, Vec::new());
        twice.virtual_host = "VIRTUAL".to_owned();
        twice
    }]);
    assert_eq!(repeated, [("virtual".to_owned(), 1234)]);
    assert_eq!(
        systems.find("virtual", 1234).unwrap().check("/x", Change::No),
        Verdict::Allowed
    );
    assert_eq!(
        systems.find("virtual", 443).unwrap().check("/x", Change::No),
        Verdict::Denied
    );
    assert!(systems.find("virtual", 80).is_none() && systems.find("other", 443).is_none());
    assert_eq!(
        systems.find_internal("INTERNAL", 80, false).unwrap().virtual_port,
        1234,
        "the first one wins"
    );
    assert!(systems.find_internal("internal", 80, true).is_none());
}
