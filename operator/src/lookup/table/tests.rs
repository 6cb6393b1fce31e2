use landbridge_destination::DestinationConfig;

use super::*;

const TIMING: Timing = Timing {
    refresh: Duration::from_secs(30),
    concurrency: 2,
};

fn selectors(names: &[&str]) -> HashSet<DestinationSelector> {
    names
        .iter()
        .map(|name| DestinationSelector::named(*name))
        .collect()
}

fn config(url: &str) -> DestinationConfig {
    let mut config = DestinationConfig::new();
    config.set("URL", url);
    config
}

fn found(url: &str, etag: &str) -> Result<Answer, Failure> {
    Ok(Answer::Found {
        config: config(url),
        etag: Some(etag.to_owned()),
    })
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test(start_paused = true)]
async fn look_ups_run_a_few_at_a_time_and_come_again_after_the_refresh_time() {
    let start = Instant::now();
    let mut table = Table::new(TIMING);
    table.set(&selectors(&["a", "b", "c", "*"]), start);
    assert_eq!(table.get(&DestinationSelector::named("*")), Lookup::NotNeeded);
    let (first, second) = (table.take(start).unwrap(), table.take(start).unwrap());
    assert_eq!(
        (table.take(start), table.next_due()),
        (None, None),
        "two run, there is no room"
    );
    assert!(table.finish(&first.0, found("https://x", "1"), start));
    assert!(!table.is_settled());
    let third = table.take(start).unwrap();
    assert!(table.finish(&second.0, Ok(Answer::NotFound("create it".into())), start));
    assert!(table.finish(&third.0, Err(Failure("down".into())), start));
    assert!(table.is_settled());

    assert_eq!(table.take(start), None, "nothing is due");
    let after = start + seconds(30);
    let mut again: Vec<_> = std::iter::from_fn(|| {
        let (selector, etag) = table.take(after)?;
        table.finish(&selector, Ok(Answer::Unchanged), after);
        Some((selector, etag))
    })
    .collect();
    again.sort_by_key(|(_, etag)| etag.clone());
    assert_eq!(again.len(), 3);
    assert_eq!(
        again.pop(),
        Some((first.0, Some("1".to_owned()))),
        "the known ETag is sent"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_known_outlives_a_failure_and_pauses_grow() {
    let mut now = Instant::now();
    let mut table = Table::new(TIMING);
    let selector = DestinationSelector::named("a");
    table.set(&selectors(&["a"]), now);
    table.take(now).unwrap();
    table.finish(&selector, found("https://x", "1"), now);
    let known = Arc::new(config("https://x"));
    let mut pauses = Vec::new();
    for _ in 0..9 {
        now = table.next_due().unwrap();
        let (_, etag) = table.take(now).unwrap();
        assert_eq!(etag.as_deref(), Some("1"));
        table.finish(&selector, Err(Failure("down".into())), now);
        let expected = Lookup::Unavailable {
            reason: "down".into(),
            last: Some(known.clone()),
        };
        assert_eq!(table.get(&selector), expected);
        pauses.push(table.next_due().unwrap() - now);
    }
    assert!(
        pauses[0] <= seconds(1) && pauses[2] > seconds(2) && pauses[8] > seconds(44),
        "{pauses:?}"
    );
    assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE), "{pauses:?}");
    now = table.next_due().unwrap();
    table.take(now).unwrap();
    assert!(table.finish(&selector, Ok(Answer::Unchanged), now));
    assert_eq!(
        table.get(&selector),
        Lookup::Found(known),
        "304 after an outage: it is still that"
    );
    assert!(
        table.next_due().unwrap() - now > seconds(20),
        "the refresh time counts again"
    );
}

#[tokio::test(start_paused = true)]
async fn missing_destinations_are_asked_for_soon() {
    let now = Instant::now();
    let mut table = Table::new(TIMING);
    table.set(&selectors(&["a"]), now);
    let (selector, _) = table.take(now).unwrap();
    table.finish(&selector, Ok(Answer::NotFound("create it".into())), now);
    assert!(table.next_due().unwrap() - now <= MISSING_REFRESH);
}

#[tokio::test(start_paused = true)]
async fn answers_for_what_nobody_refers_to_any_more_are_dropped() {
    let now = Instant::now();
    let mut table = Table::new(TIMING);
    table.set(&selectors(&["a"]), now);
    let (selector, _) = table.take(now).unwrap();
    table.set(&selectors(&[]), now);
    assert!(!table.finish(&selector, found("https://x", "1"), now));
    assert_eq!((table.get(&selector), table.next_due()), (Lookup::Pending, None));

    // Gone and back while the first look-up still ran: the late answer must not be mixed up with the new one.
    table.set(&selectors(&["a"]), now);
    table.take(now).unwrap();
    table.set(&selectors(&[]), now);
    table.set(&selectors(&["a"]), now);
    assert!(!table.finish(&selector, found("https://old", "1"), now));
    let (selector, etag) = table.take(now).unwrap();
    assert_eq!(etag, None);
    assert!(table.finish(&selector, found("https://new", "2"), now));
    assert_eq!(
        table.get(&selector),
        Lookup::Found(Arc::new(config("https://new")))
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_the_plan_reads_is_kept_and_only_that_is_a_change() {
    let now = Instant::now();
    let mut table = Table::new(TIMING);
    let selector = DestinationSelector::named("a");
    table.set(&selectors(&["a"]), now);
    let with = |extra: &str| {
        let mut config = config("https://x");
        config.set("Type", "HTTP");
        config.set("URL.headers.extra", extra);
        config.set("Description", "long ".repeat(1_000));
        let etag = Some(extra.to_owned());
        Ok(Answer::Found { config, etag })
    };
    table.take(now).unwrap();
    assert!(table.finish(&selector, with("1"), now));
    let Lookup::Found(kept) = table.get(&selector) else {
        panic!("not found")
    };
    let mut names: Vec<_> = kept.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["Type", "URL"]);

    let later = now + seconds(30);
    table.take(later).unwrap();
    assert!(!table.finish(&selector, with("2"), later));
    let (_, etag) = table.take(later + seconds(30)).unwrap();
    assert_eq!(etag.as_deref(), Some("2"));
}
