use std::net::SocketAddr;
use std::time::Duration;

use landbridge_destination::serve::{ChannelReport, RouteReport};

use super::*;

fn pod(name: &str, uid: &str) -> PodId {
    PodId {
        namespace: "landbridge".into(),
        name: name.into(),
        uid: uid.into(),
    }
}

fn key(name: &str) -> RouteKey {
    RouteKey::new("shop", name)
}

fn open(name: &str, port: u16) -> RouteReport {
    RouteReport {
        key: key(name),
        state: RouteState::Listening(SocketAddr::from(([0, 0, 0, 0], port))),
    }
}

fn failed(name: &str, why: &str) -> RouteReport {
    RouteReport {
        key: key(name),
        state: RouteState::Failed(why.into()),
    }
}

fn whole(process: u64, sequence: u64, routes: Vec<RouteReport>) -> Report {
    Report {
        process,
        sequence,
        whole: true,
        routes,
        ..Report::default()
    }
}

fn part(process: u64, sequence: u64, routes: Vec<RouteReport>) -> Report {
    Report {
        whole: false,
        ..whole(process, sequence, routes)
    }
}

fn take(reports: &mut Reports, pod: &PodId, report: Report) -> (bool, Vec<String>) {
    take_at(reports, pod, report, Instant::now())
}

fn take_at(reports: &mut Reports, pod: &PodId, report: Report, now: Instant) -> (bool, Vec<String>) {
    let taken = reports.take(pod, report, now).unwrap();
    (taken.answer == ReportAnswer::Taken, changed_routes(taken.changed))
}

fn changed_routes(changed: Changed) -> Vec<String> {
    let mut names: Vec<_> = changed.routes.into_iter().map(|key| key.name).collect();
    names.sort();
    names
}

fn ports(reports: &Reports, name: &str) -> Vec<(String, u16, bool)> {
    let listening = reports.listening(&key(name));
    listening
        .map(|serving| (serving.pod.name.clone(), serving.port, serving.draining))
        .collect()
}

fn taken(names: &[&str]) -> (bool, Vec<String>) {
    (true, names.iter().map(|name| (*name).to_owned()).collect())
}

const SEND_WHOLE: (bool, Vec<String>) = (false, Vec::new());

#[test]
fn wholes_and_deltas() {
    let mut reports = Reports::default();
    let one = pod("p1", "u1");
    assert_eq!(
        take(&mut reports, &one, part(7, 1, vec![open("a", 1)])),
        SEND_WHOLE,
        "a delta to nothing"
    );
    let first = whole(7, 2, vec![open("a", 1), failed("b", "port 2 in use")]);
    assert_eq!(take(&mut reports, &one, first), taken(&["a", "b"]));
    assert_eq!(ports(&reports, "a"), [("p1".to_owned(), 1, false)]);
    assert_eq!(ports(&reports, "b"), []);
    let failures: Vec<_> = reports
        .failures(&key("b"))
        .map(|(pod, why)| (pod.name.as_str(), why))
        .collect();
    assert_eq!(failures, [("p1", "port 2 in use")]);

    assert_eq!(
        take(&mut reports, &one, part(7, 3, Vec::new())),
        taken(&[]),
        "a sign of life"
    );
    let repaired = Report {
        removed_routes: vec![key("a"), key("unknown")],
        ..part(7, 4, vec![open("b", 2), open("c", 3)])
    };
    assert_eq!(take(&mut reports, &one, repaired), taken(&["a", "b", "c"]));
    assert_eq!(ports(&reports, "b"), [("p1".to_owned(), 2, false)]);
    assert_eq!(reports.failures(&key("b")).count(), 0);
    assert_eq!(
        take(&mut reports, &one, part(7, 5, vec![open("b", 2)])),
        taken(&[]),
        "no change"
    );

    let next = whole(
        7,
        6,
        vec![open("b", 2), failed("c", "closed"), open("d", 4), open("d", 5)],
    );
    assert_eq!(take(&mut reports, &one, next), taken(&["c", "d"]));
    assert_eq!(
        ports(&reports, "d"),
        [("p1".to_owned(), 5, false)],
        "of two the last counts"
    );
    assert_eq!(
        take(&mut reports, &one, whole(7, 7, Vec::new())),
        taken(&["b", "c", "d"])
    );
    assert_eq!(
        reports.keys.len(),
        0,
        "nothing is left of routes that nobody serves"
    );
}

#[test]
fn order_of_reports() {
    let one = pod("p1", "u1");
    let cases = [
        ("the next delta", part(7, 11, vec![open("b", 2)]), true),
        ("a delta again", part(7, 10, vec![open("b", 2)]), false),
        ("a delta after a gap", part(7, 12, vec![open("b", 2)]), false),
        (
            "a delta of another process",
            part(8, 11, vec![open("b", 2)]),
            false,
        ),
        ("a whole one again", whole(7, 10, vec![open("b", 2)]), true),
        ("a late whole one", whole(7, 9, vec![open("b", 2)]), false),
        ("a whole one after a gap", whole(7, 99, vec![open("b", 2)]), true),
        (
            "a whole one of another process",
            whole(8, 1, vec![open("b", 2)]),
            true,
        ),
    ];
    for (name, report, counts) in cases {
        let mut reports = Reports::default();
        take(&mut reports, &one, whole(7, 10, vec![open("a", 1)]));
        assert_eq!(take(&mut reports, &one, report).0, counts, "{name}");
        assert_eq!(ports(&reports, "b").len(), usize::from(counts), "{name}");
    }
}

#[test]
fn draining_is_told() {
    let mut reports = Reports::default();
    let one = pod("p1", "u1");
    take(&mut reports, &one, whole(7, 1, vec![open("a", 1), open("b", 2)]));
    let last = Report {
        draining: true,
        ..part(7, 2, Vec::new())
    };
    assert_eq!(take(&mut reports, &one, last), taken(&["a", "b"]));
    assert_eq!(ports(&reports, "a"), [("p1".to_owned(), 1, true)]);
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_or_gone_does_not_serve() {
    let mut reports = Reports::default();
    let (one, two) = (pod("p1", "u1"), pod("p2", "u2"));
    let start = Instant::now();
    take_at(&mut reports, &one, whole(1, 1, vec![open("a", 1)]), start);
    take_at(
        &mut reports,
        &two,
        whole(2, 1, vec![open("a", 2)]),
        start + Duration::from_secs(1),
    );
    assert_eq!(ports(&reports, "a").len(), 2);
    assert!(reports.expire(start + SILENCE).is_empty());
    let expired = reports.expire(start + SILENCE + Duration::from_millis(1));
    assert_eq!(changed_routes(expired), ["a"]);
    assert_eq!(ports(&reports, "a"), [("p2".to_owned(), 2, false)]);
    assert_eq!(
        take(&mut reports, &one, part(1, 2, Vec::new())),
        SEND_WHOLE,
        "silence forgets"
    );

    assert!(reports.pod_gone(&pod("p2", "another")).is_empty());
    assert_eq!(changed_routes(reports.pod_gone(&two)), ["a"]);
    assert_eq!((reports.pods().count(), reports.keys.len()), (0, 0));
}

#[test]
fn a_new_pod_of_the_same_name_replaces_the_old_one() {
    let mut reports = Reports::default();
    take(
        &mut reports,
        &pod("p1", "old"),
        whole(1, 1, vec![open("a", 1), open("b", 2)]),
    );
    let next = whole(2, 1, vec![open("b", 2)]);
    assert_eq!(take(&mut reports, &pod("p1", "new"), next), taken(&["a", "b"]));
    assert_eq!(reports.pods().count(), 1);
    assert_eq!(ports(&reports, "a"), []);
}

#[test]
fn holders_of_channels() {
    let mut reports = Reports::default();
    let (one, two) = (pod("p1", "u1"), pod("p2", "u2"));
    let key = ChannelKey {
        namespace: Some("shop".into()),
        name: "hana".into(),
    };
    let held = |locations: &[&str]| ChannelReport {
        key: key.clone(),
        locations: locations.iter().map(|id| (*id).to_owned()).collect(),
    };
    let mut report = |pod: &PodId, sequence, whole_one: bool, channels: Vec<ChannelReport>| {
        let report = Report {
            channels,
            whole: whole_one,
            ..whole(1, sequence, Vec::new())
        };
        reports
            .take(pod, report, Instant::now())
            .unwrap()
            .changed
            .channels
            .len()
    };
    assert_eq!(report(&one, 1, true, vec![held(&["hq", "", "hq"])]), 1);
    assert_eq!(
        report(&one, 2, true, vec![held(&["", "hq"])]),
        0,
        "the order says nothing"
    );
    assert_eq!(report(&two, 1, true, vec![held(&["plant"])]), 1);
    assert_eq!(
        report(&one, 3, false, vec![held(&[])]),
        1,
        "offered still, but held by nobody"
    );
    let holders = |reports: &Reports| -> Vec<_> {
        let holders = reports.holders(&key);
        holders
            .map(|(pod, ids)| (pod.name.clone(), ids.to_vec()))
            .collect()
    };
    let plant = ("p2".to_owned(), vec!["plant".to_owned()]);
    let mut both = holders(&reports);
    both.sort();
    assert_eq!(both, [("p1".to_owned(), Vec::new()), plant.clone()]);
    let withdrawn = Report {
        removed_channels: vec![key.clone()],
        whole: false,
        ..whole(1, 4, Vec::new())
    };
    let taken = reports.take(&one, withdrawn, Instant::now()).unwrap();
    assert!(taken.changed.channels.contains(&key));
    assert_eq!(holders(&reports), [plant]);
    let gone = reports.pod_gone(&two);
    assert!(gone.channels.contains(&key) && holders(&reports).is_empty());
}

#[test]
fn connectors_that_come_or_go_are_news() {
    let mut reports = Reports::default();
    let one = pod("p1", "u1");
    let with = |sequence, whole_one, locations: Option<&[&str]>| Report {
        whole: whole_one,
        locations: locations.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect()),
        ..whole(
            1,
            sequence,
            if whole_one { vec![open("a", 1)] } else { Vec::new() },
        )
    };
    let mut news = |report| {
        reports
            .take(&one, report, Instant::now())
            .unwrap()
            .changed
            .locations
    };
    assert!(!news(with(1, true, None)));
    assert!(news(with(2, false, Some(&[]))));
    assert!(news(with(3, false, Some(&["hq"]))));
    assert!(!news(with(4, false, Some(&["hq"]))));
    assert!(!news(with(5, true, Some(&["hq"]))), "the same, said as a whole");
    let key = RouteKey::new("shop", "a");
    let serving: Vec<_> = reports.listening(&key).map(|one| one.locations.clone()).collect();
    assert_eq!(serving, [Some(vec!["hq".to_owned()])]);
    assert!(reports.pod_gone(&one).locations);
}

#[test]
fn unreasonable_reports_are_refused_and_change_nothing() {
    let mut reports = Reports::default();
    let one = pod("p1", "u1");
    take(&mut reports, &one, whole(1, 1, vec![open("a", 1)]));
    let mut refused = |report| {
        reports
            .take(&one, report, Instant::now())
            .unwrap_err()
            .to_string()
    };
    assert!(refused(whole(1, 2, vec![open("a", 0)])).contains("shop/a is reported as listening on port 0"));
    let many = (0..=MAX_ROUTES)
        .map(|number| open(&number.to_string(), 1))
        .collect();
    assert!(refused(whole(1, 2, many)).contains("65536 routes, at most 65535"));
    let locations = ChannelReport {
        key: ChannelKey {
            namespace: None,
            name: "x".into(),
        },
        locations: vec![String::new(); MAX_LOCATIONS + 1],
    };
    let channels = Report {
        channels: vec![locations],
        ..whole(1, 2, Vec::new())
    };
    assert!(refused(channels).contains("locations"));
    assert_eq!(ports(&reports, "a").len(), 1);

    for number in 1..MAX_PODS {
        take(
            &mut reports,
            &pod(&format!("q{number}"), "u"),
            whole(1, 1, Vec::new()),
        );
    }
    let error = reports.take(&pod("one-more", "u"), whole(1, 1, Vec::new()), Instant::now());
    assert_eq!(error.unwrap_err(), ReportError::TooManyPods);
    assert_eq!(
        take(&mut reports, &one, part(1, 2, Vec::new())),
        taken(&[]),
        "who is known goes on"
    );

    let mut reports = Reports::default();
    take(
        &mut reports,
        &one,
        whole(1, 1, vec![failed("a", &"é".repeat(2000))]),
    );
    assert_eq!(
        reports.failures(&key("a")).next().map(|(_, why)| why.len()),
        Some(1024)
    );
}

#[test]
fn the_board_sums_up_what_changed() {
    let board = Board::new();
    let ticks = board.ticks();
    let one = pod("p1", "u1");
    let now = Instant::now();
    for report in [
        whole(1, 1, vec![open("a", 1)]),
        part(1, 2, vec![open("b", 2)]),
        part(1, 3, Vec::new()),
    ] {
        assert_eq!(board.take(&one, report, now), Ok(ReportAnswer::Taken));
    }
    assert!(ticks.has_changed().unwrap());
    assert_eq!(changed_routes(board.changed()), ["a", "b"]);
    assert!(board.changed().is_empty());
    board.clear();
    assert_eq!(changed_routes(board.changed()), ["a", "b"]);
    assert_eq!(board.read(|reports| reports.pods().count()), 0);
}

#[test]
fn ten_thousand_routes_at_four_proxies() {
    let mut reports = Reports::default();
    let all = || {
        (0..10_000u16)
            .map(|number| open(&format!("destination-{number}"), 10_000 + number))
            .collect()
    };
    for number in 0..4 {
        let pod = pod(&format!("p{number}"), "u");
        assert_eq!(take(&mut reports, &pod, whole(1, 1, all())).1.len(), 10_000);
    }
    assert_eq!(reports.keys.len(), 10_000, "every name once");
    assert_eq!(ports(&reports, "destination-777").len(), 4);
    assert_eq!(
        take(&mut reports, &pod("p0", "u"), whole(1, 2, all())),
        taken(&[])
    );
    reports.clear();
    assert_eq!(reports.keys.len(), 0);
}
