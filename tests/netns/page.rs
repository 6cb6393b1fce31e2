//! What docs/how-to/choose-a-mode.md promises is tried: each row by its id, here, on a real node, or beside the code.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../docs/how-to/choose-a-mode.md");

/// The texts of the tests that are named below.
const TESTS: [&str; 13] = [
    include_str!("equality.rs"),
    include_str!("scenarios.rs"),
    include_str!("node.rs"),
    include_str!("sidecar.rs"),
    include_str!("../charts/modes.rs"),
    include_str!("../cluster/interception/answers.rs"),
    include_str!("../cluster/interception/node.rs"),
    include_str!("../cluster/interception/sidecar.rs"),
    include_str!("../cluster/survival.rs"),
    include_str!("../cluster/troubleshooting/calls.rs"),
    include_str!("../../proxy/tests/cluster/sidecar/identity.rs"),
    include_str!("../../proxy/tests/cluster/sidecar/resolving.rs"),
    include_str!("../../operator/src/injection/decide/tests.rs"),
];

/// The rows, and who tries them: functions, or names in a table of calls.
const ROWS: &[(&str, &[&str])] = &[
    (
        "privilege",
        &[
            "a_proxy_on_a_node_has_what_it_needs_and_nothing_else",
            "a_job_ends_by_itself",
        ],
    ),
    (
        "credentials",
        &[
            "no_secret_of_a_destination_is_on_the_wire",
            "what_is_set_for_sidecars_arrives",
        ],
    ),
    (
        "identity",
        &[
            "\"another namespace\"",
            "without_a_good_certificate_not_a_byte_is_said",
        ],
    ),
    (
        "namespace",
        &[
            "\"another namespace\"",
            "a_sidecar_of_another_namespace_is_refused",
        ],
    ),
    (
        "on-premise",
        &["\"behind a connector\"", "\"each request says which\""],
    ),
    ("host-network", &["a_caller_with_the_network_of_its_node"]),
    ("target-tls", &["\"TLS to the target\""]),
    ("new-destination", &["what_is_declared_later_is_answered_at_once"]),
    (
        "bridge",
        &[
            "node_with_a_bridge",
            "sidecar_on_a_bridge",
            "pods_on_a_bridge_whose_packets_no_filter_sees_are_served_on_the_node",
        ],
    ),
    (
        "proxy-killed",
        &[
            "killed_its_pods_are_served_by_the_gateways_and_then_by_the_next_one",
            "killed_it_leaves_nobody_without_an_answer",
            "killed_it_is_missed_until_it_is_back_and_proven",
        ],
    ),
    (
        "proxy-ends",
        &[
            "no_call_fails_while_the_proxies_are_replaced",
            "calls_go_on_while_it_starts_is_replaced_and_ends",
            "no_call_fails_while_the_nodes_proxy_changes",
            "asked_to_end_it_ends_well",
        ],
    ),
    (
        "operator-away",
        &[
            "callers_do_not_notice_that_the_operators_are_gone",
            "operator_and_store_may_be_away",
            "a_pod_that_starts_while_the_operator_is_away_goes_to_the_gateways",
        ],
    ),
    (
        "gateway-away",
        &[
            "gateways_may_be_away_for_what_is_known",
            "it_goes_on_while_the_others_are_away",
        ],
    ),
    (
        "store-away",
        &[
            "operator_and_store_may_be_away",
            "a_store_that_is_away_takes_nothing_from_sidecars",
        ],
    ),
    ("mode-removed", &["no_call_fails_while_the_nodes_proxy_changes"]),
    (
        "rules-changed",
        &[
            "rules_that_somebody_deletes_are_repaired_and_those_of_others_stay",
            "rules_that_somebody_deletes_come_back",
        ],
    ),
    (
        "no-net-admin",
        &[
            "without_net_admin_it_says_what_to_do",
            "without_net_admin_the_tool_says_what_to_do",
        ],
    ),
    ("not-proven", &["the_proof_tells_whether_connections_arrive"]),
    (
        "address-reused",
        &["an_address_that_another_service_gets_is_left_to_it"],
    ),
    ("port-called", &["who_calls_the_port_itself_is_refused"]),
    (
        "proxy-uid",
        &["a_container_with_the_proxys_user_goes_to_the_gateways"],
    ),
];

#[test]
fn every_row_of_the_page_is_tried() {
    let on_page: BTreeSet<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(id, _)| id)
        .collect();
    let tried: BTreeSet<&str> = ROWS.iter().map(|(id, _)| *id).collect();
    assert_eq!(on_page, tried);
    for (id, tests) in ROWS {
        for test in *tests {
            let there = TESTS.iter().any(|text| text.contains(test));
            assert!(there, "{id}: there is no test {test}");
        }
    }
}
