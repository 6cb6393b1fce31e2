use super::*;
use crate::ruleset::Elements;

fn all(settings: &Settings, features: Features) -> Ruleset {
    let to = ["10.96.0.1:80", "[fd00::1]:443"]
        .map(|text| text.parse().unwrap())
        .into();
    plan(settings, "abc", &to, features)
}

/// Rules of a chain, as nft(8) writes them, without comments.
fn rules(table: &Ruleset, chain: &str) -> Vec<String> {
    let chain = table.chains.iter().find(|found| found.name == chain).unwrap();
    let text = |rule: &Rule| {
        rule.statements
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    chain.rules.iter().map(text).collect()
}

#[test]
fn a_sidecar_proves_before_it_excludes_and_excludes_before_it_redirects() {
    let table = all(&Settings::sidecar(Some(2102), Vec::new()), Features::default());
    assert_eq!(
        rules(&table, "output"),
        [
            "ip daddr 192.0.2.2 tcp dport 20413 redirect to :20411",
            "ip6 daddr 2001:db8::2 tcp dport 20413 redirect to :20411",
            "meta mark 0x000001b1 return",
            "meta skuid 2102 return",
            "ip daddr . tcp dport @destinations4 redirect to :20411",
            "ip6 daddr . tcp dport @destinations6 redirect to :20411",
        ]
    );
    let sets: Vec<&str> = table.sets.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(sets, ["destinations4", "destinations6"]);
    assert_eq!(table.owner(), Some("abc"));
}

#[test]
fn whole_networks_come_last_and_leave_loopback_alone() {
    let networks = vec!["0.0.0.0/0".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let table = all(&Settings::sidecar(None, networks), Features::default());
    let rules = rules(&table, "output");
    assert_eq!(
        rules[5..],
        [
            "oifname \"lo\" return",
            "meta l4proto tcp ip daddr @networks4 redirect to :20411",
            "meta l4proto tcp ip6 daddr @networks6 redirect to :20411",
        ]
    );
}

#[test]
fn a_node_keeps_existing_connections_before_it_looks_at_the_set() {
    let table = all(&Settings::node(), Features::default());
    let first = "tcp flags & (fin | syn | rst | ack) == syn";
    let taken = "meta mark set 0x000001b2 notrack accept";
    assert_eq!(
        rules(&table, "prerouting"),
        [
            format!("meta l4proto tcp socket transparent 1 {taken}"),
            format!("ip daddr 192.0.2.2 tcp dport 20413 tproxy ip to 127.0.0.1:20411 {taken}"),
            format!("ip6 daddr 2001:db8::2 tcp dport 20413 tproxy ip6 to [::1]:20411 {taken}"),
            format!("ip daddr . tcp dport @destinations4 {first} tproxy ip to 127.0.0.1:20411 {taken}"),
            format!("ip6 daddr . tcp dport @destinations6 {first} tproxy ip6 to [::1]:20411 {taken}"),
        ]
    );
    assert_eq!(
        rules(&table, "output"),
        [
            "meta l4proto tcp socket transparent 1 notrack accept".to_owned(),
            format!("ip daddr 192.0.2.2 tcp dport 20413 {taken}"),
            format!("ip6 daddr 2001:db8::2 tcp dport 20413 {taken}"),
        ]
    );
    for chain in &table.chains {
        assert_eq!(chain.priority, -300, "before connection tracking");
    }
}

#[test]
fn without_ipv6_nothing_names_it() {
    for settings in [
        Settings::node(),
        Settings::sidecar(None, vec!["::/0".parse().unwrap()]),
    ] {
        for socket in [true, false] {
            let features = Features {
                ipv6: false,
                socket,
                bridge_filter: true,
            };
            let text = all(&settings, features).to_string();
            assert!(!text.contains("ip6") && !text.contains("fd00"), "{text}");
        }
    }
}

#[test]
fn without_nft_socket_only_connections_that_exist_are_looked_for() {
    let features = Features {
        socket: false,
        ..Features::default()
    };
    let table = all(&Settings::node(), features);
    assert_eq!(
        rules(&table, "prerouting")[0],
        "meta nfproto ipv4 tcp flags & (fin | syn | rst | ack) != syn tproxy ip to 127.0.0.1:1 meta mark set 0x000001b2 notrack accept"
    );
    assert_eq!(
        rules(&table, "output")[0],
        "ip saddr . tcp sport @destinations4 notrack accept"
    );
}

#[test]
fn what_comes_over_a_bridge_goes_to_the_gateways_where_its_socket_would_be_lost() {
    let features = Features {
        bridge_filter: true,
        ..Features::default()
    };
    let rules = rules(&all(&Settings::node(), features), "prerouting");
    // After the connections that exist, before anything new.
    assert_eq!(rules[1], "meta iifkind \"bridge\" return");
}

#[test]
fn every_rule_says_why() {
    for settings in [
        Settings::node(),
        Settings::sidecar(Some(1), vec!["10.0.0.0/8".parse().unwrap()]),
    ] {
        for features in [true, false].map(|on| Features {
            socket: on,
            ipv6: on,
            bridge_filter: !on,
        }) {
            let table = all(&settings, features);
            for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
                assert!((10..128).contains(&rule.comment.len()), "{rule}");
            }
        }
    }
}

#[test]
fn destinations_are_in_the_set_of_their_family() {
    let table = all(&Settings::node(), Features::default());
    let sets: Vec<String> = table
        .sets
        .iter()
        .map(|set| match &set.elements {
            Elements::Destinations(all) => format!("{all:?}"),
            Elements::Networks(_) => String::new(),
        })
        .collect();
    assert_eq!(sets, ["{10.96.0.1:80}", "{[fd00::1]:443}"]);
}

#[test]
fn comments_of_others_cannot_break_the_text() {
    let mut table = all(&Settings::node(), Features::default());
    table.comment = "a\"; flush ruleset\n\u{7}".to_owned();
    let text = table.to_string();
    assert!(text.contains("comment \"a ; flush ruleset  \"\n"), "{text}");
}

#[test]
fn a_kernel_that_lacks_something_is_asked_for_less_until_nothing_is_left() {
    for (node, expected) in [
        // Socket and IPv6.
        (true, vec![(false, true), (true, false), (false, false)]),
        (false, vec![(true, false)]),
    ] {
        let mut tried = Vec::new();
        let mut features = Features::default();
        while let Some(poorer) = features.poorer(node) {
            features = poorer;
            tried.push((features.socket, features.ipv6));
        }
        assert_eq!(tried, expected);
    }
}
