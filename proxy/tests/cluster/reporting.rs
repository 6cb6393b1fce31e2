//! Reports: to whoever leads, whole when it has to be, and a last one.

use landbridge_destination::route::RouteState;
use landbridge_destination::serve::{Delta, Message, ReportAnswer};

use crate::eventually;
use crate::operator::{Identity, Mounts, Operator};
use crate::proxy::{Proxy, route, snapshot};
use crate::store::Store;

fn names(report: &landbridge_destination::serve::Report) -> Vec<&str> {
    let mut names: Vec<&str> = report
        .routes
        .iter()
        .map(|route| route.key.name.as_str())
        .collect();
    names.sort_unstable();
    names
}

fn add(version: u64, name: &str) -> Message {
    Message::Delta(Delta {
        version,
        routes: vec![route(name)],
        ..Delta::default()
    })
}

#[tokio::test]
async fn the_operator_hears_what_is_served_and_that_the_proxy_ends() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    let operator = Operator::start(&identity, &[snapshot(1, vec![route("a")], Vec::new())]).await;
    let proxy = Proxy::start(operator.address, &mounts, &store);
    let address = proxy.serves("a").await;
    eventually("a is reported", || {
        operator.reports().iter().any(|report| names(report) == ["a"])
    })
    .await;
    let reports = operator.reports();
    assert!(reports[0].whole && !reports[0].draining);
    let told = reports.iter().flat_map(|report| &report.routes).next().unwrap();
    assert_eq!(told.state, RouteState::Listening(address));
    operator.say(&add(2, "b"));
    eventually("b is reported", || {
        operator.reports().iter().any(|report| names(report) == ["b"])
    })
    .await;
    let count = operator.reports().len();
    eventually("what stays so is said again", || operator.reports().len() > count).await;
    proxy.stop().await;
    let reports = operator.reports();
    assert!(reports.iter().all(|report| report.process == reports[0].process));
    assert!(reports.windows(2).all(|two| two[1].sequence > two[0].sequence));
    let last = reports.last().unwrap();
    assert!(last.draining && reports.iter().filter(|report| report.draining).count() == 1);
}

#[tokio::test]
async fn reports_follow_the_leader() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    let (first, second) = (
        Operator::start(&identity, &[snapshot(1, vec![route("a")], Vec::new())]).await,
        Operator::start(&identity, &[]).await,
    );
    let leader = second.address;
    first.answer(move |_| (421, ReportAnswer::NotLeader { leader: Some(leader) }));
    let proxy = Proxy::start(first.address, &mounts, &store);
    proxy.serves("a").await;
    let whole = |operator: &Operator, expected: &[&str]| {
        operator
            .reports()
            .iter()
            .any(|report| report.whole && names(report) == expected)
    };
    let any =
        |operator: &Operator, name: &str| operator.reports().iter().any(|report| names(report) == [name]);
    eventually("the leader it was sent to hears it", || any(&second, "a")).await;
    assert!(second.reports()[0].whole);

    // The lease changes hands: the stream says so.
    let third = Operator::start(&identity, &[]).await;
    first.say(&Message::Leader {
        address: Some(third.address),
    });
    eventually("the new leader hears everything", || whole(&third, &["a"])).await;
    // It has lost count.
    third.answer(|report| {
        if report.whole {
            (200, ReportAnswer::Taken)
        } else {
            (409, ReportAnswer::SendWhole)
        }
    });
    first.say(&add(2, "b"));
    eventually("it asks for everything, and gets it", || {
        whole(&third, &["a", "b"])
    })
    .await;

    // The leader dies, and its replica takes over before any stream says so.
    let fourth = Operator::start(&identity, &[]).await;
    let leader = fourth.address;
    first.answer(move |_| (421, ReportAnswer::NotLeader { leader: Some(leader) }));
    drop(third);
    eventually("the replica that is left names the leader", || {
        whole(&fourth, &["a", "b"])
    })
    .await;
}

#[tokio::test]
async fn without_a_leader_the_proxy_waits_and_stops_in_time() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    let operator = Operator::start(&identity, &[snapshot(1, vec![route("a")], Vec::new())]).await;
    operator.answer(|_| (421, ReportAnswer::NotLeader { leader: None }));
    let proxy = Proxy::start(operator.address, &mounts, &store);
    proxy.serves("a").await;
    eventually("it asks again", || operator.reports().len() >= 3).await;
    operator.answer(|_| (500, ReportAnswer::Taken));
    eventually("failures are counted", || {
        proxy.metric("landbridge_control_reports_failed_total") >= Some(1.0)
    })
    .await;
    let stopping = tokio::time::timeout(std::time::Duration::from_secs(60), proxy.stop());
    assert!(stopping.await.is_ok());
}
