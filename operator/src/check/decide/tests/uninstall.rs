use super::*;

#[test]
fn what_is_in_the_way_of_an_uninstallation() {
    let some = |total: usize| {
        let examples = (0..total.min(5))
            .map(|number| format!("shop/c{number}"))
            .collect();
        Ok(Listing {
            total,
            bad: 0,
            examples,
        })
    };
    let none = || Ok(Listing::default());
    let facts = |channels, mappings, destinations| Leftovers {
        answers: Ok(()),
        channels,
        mappings,
        destinations,
    };
    let all = |facts: &Leftovers| uninstall(facts, &options(Phase::Uninstall));
    let (left, mapped) = ("service-channels-left", "service-mappings-left");
    differs(
        facts(some(7), none(), none()),
        all,
        left,
        Outcome::Failed,
        "7 left: shop/c0; shop/c1",
        "kubectl delete servicechannels --all -A",
    );
    differs(
        facts(some(7), none(), none()),
        all,
        left,
        Outcome::Failed,
        "shop/c4 and 2 more",
        "",
    );
    differs(
        facts(none(), some(1), none()),
        all,
        mapped,
        Outcome::Failed,
        "1 left: shop/c0",
        "kubectl delete servicemappings",
    );
    differs(
        facts(none(), none(), some(2)),
        all,
        "destinations-left",
        Outcome::Failed,
        "2 left",
        "kubectl delete destinations.",
    );
    // Missing is fine, hidden is not; a guard of one chart sees no Destinations.
    assert!(
        bad(&all(&facts(
            Err(Trouble::Missing),
            Err(Trouble::Missing),
            Err(Trouble::Missing)
        )))
        .is_empty()
    );
    differs(
        facts(forbidden(), none(), none()),
        all,
        left,
        Outcome::Failed,
        "no right to list",
        "right to list",
    );
    differs(
        facts(none(), timeout(), none()),
        all,
        mapped,
        Outcome::Failed,
        "no answer",
        "try again",
    );
    differs(
        facts(none(), none(), forbidden()),
        all,
        "destinations-left",
        Outcome::Skipped,
        "no right",
        "",
    );
    let narrow = Options {
        watch_namespace: Some("shop".into()),
        ..options(Phase::Uninstall)
    };
    let narrow = |facts: &Leftovers| uninstall(facts, &narrow);
    differs(
        facts(some(1), none(), none()),
        narrow,
        left,
        Outcome::Failed,
        "1 left",
        "--all -n shop",
    );
    differs(
        facts(none(), forbidden(), none()),
        narrow,
        mapped,
        Outcome::Skipped,
        "one namespace",
        "",
    );
}
