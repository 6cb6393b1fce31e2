use super::*;
use Outcome::{Failed, Skipped, Warning};

#[test]
fn what_can_be_wrong_with_proxies_and_resources() {
    all_differ(vec![
        (
            |f| f.proxies = Ok(vec![]),
            "proxies-ready",
            Failed,
            "no proxy pods in the namespace system",
            "proxy.enabled",
        ),
        (
            |f| {
                f.proxies = Ok(vec![PodFact {
                    ready: false,
                    ..pod("proxy-0")
                }])
            },
            "proxies-ready",
            Failed,
            "0 of 1",
            "kubectl describe pod -n system",
        ),
        (
            |f| {
                f.proxies.as_mut().unwrap().push(PodFact {
                    ready: false,
                    waiting: Some("CreateContainerConfigError".into()),
                    ..pod("proxy-1")
                })
            },
            "proxies-ready",
            Warning,
            "1 of 2 are ready; proxy-1: CreateContainerConfigError",
            "describe",
        ),
        (
            |f| f.status.as_mut().unwrap().reporting = 0,
            "proxies-connected",
            Failed,
            "0 report",
            "kubectl logs",
        ),
        (
            |f| f.status.as_mut().unwrap().ready = 2,
            "proxies-connected",
            Warning,
            "1 report to the operator, 2 pods",
            "kubectl logs",
        ),
        (
            |f| f.connectors[0].1 = Ok(0),
            "connectors-connected",
            Warning,
            "no connector",
            "kubectl exec -n system connectivity-0",
        ),
        (
            |f| f.connectors[0].1 = timeout(),
            "connectors-connected",
            Failed,
            "no answer",
            "9494",
        ),
        (
            |f| {
                let examples = (0..5)
                    .map(|number| format!("shop/d{number} (NotFound: x)"))
                    .collect();
                f.destinations = Ok(Listing {
                    total: 9,
                    bad: 7,
                    examples,
                });
            },
            "destinations-available",
            Warning,
            "7 of 9 are not: shop/d0 (NotFound: x); ",
            "landbridge explain",
        ),
        (
            |f| f.destinations = forbidden(),
            "destinations-available",
            Skipped,
            "bob",
            "",
        ),
        (
            |f| {
                f.channels = Ok(Listing {
                    total: 1,
                    bad: 1,
                    examples: vec!["a/b".into()],
                })
            },
            "service-channels-ready",
            Warning,
            "1 of 1",
            "describe sch",
        ),
    ]);
    let mut ending = good();
    ending.proxies.as_mut().unwrap().push(PodFact {
        ready: false,
        ending: true,
        ..pod("proxy-1")
    });
    assert!(
        bad(&installed(&ending, &options(Phase::Installed))).is_empty(),
        "one that ends is not missed"
    );
}
