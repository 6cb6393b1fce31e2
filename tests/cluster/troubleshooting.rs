//! Every row of docs/how-to/troubleshooting.md on a real node: its cause is made, its text appears where the page says, and
//! its remedy helps. The texts and the commands are the page's own.

mod calls;
mod company;
mod connectors;
mod declared;
mod installation;
mod keys;
mod operators;
mod page;
mod proxies;
mod trial;
mod uninstalling;
mod values;

use std::collections::BTreeSet;

/// The tests, as text: who reproduces a row asks for it by its id.
const TESTS: &[&str] = &[
    include_str!("troubleshooting/calls.rs"),
    include_str!("troubleshooting/company.rs"),
    include_str!("troubleshooting/connectors.rs"),
    include_str!("troubleshooting/declared.rs"),
    include_str!("troubleshooting/installation.rs"),
    include_str!("troubleshooting/keys.rs"),
    include_str!("troubleshooting/operators.rs"),
    include_str!("troubleshooting/proxies.rs"),
    include_str!("troubleshooting/uninstalling.rs"),
    include_str!("troubleshooting/values.rs"),
];

#[test]
fn every_row_is_reproduced_by_a_test() {
    let reproduced: BTreeSet<&str> = TESTS
        .iter()
        .flat_map(|text| text.split("row(\"").skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let rows = page::rows();
    let on_page: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(rows.len(), on_page.len(), "an id of the page is there twice");
    assert_eq!(reproduced, on_page);
}
