//! Metrics of proxies: what a call has counted.

use std::collections::BTreeMap;

/// Samples by name and labels.
pub type Samples = BTreeMap<String, f64>;

/// What the work of a proxy is counted in. Not here: what depends on how it came by its destinations, and times.
const COUNTED: [&str; 5] = [
    "landbridge_proxy_",
    "tp_received_",
    "tp_target_",
    "tp_tcp_",
    "tp_open_",
];

/// Parses a page.
pub fn samples(page: &str) -> Samples {
    page.lines()
        .filter(|line| COUNTED.iter().any(|prefix| line.starts_with(prefix)))
        .filter(|line| {
            !line.contains("_seconds") && !line.contains("_connections_opened") && !line.contains("_reused")
        })
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// What is more in `after`, without what is the same.
pub fn delta(before: &Samples, after: &Samples) -> Samples {
    let changed = after.iter().filter_map(|(name, value)| {
        let more = value - before.get(name).copied().unwrap_or_default();
        (more != 0.0).then(|| (name.clone(), more))
    });
    changed.collect()
}

/// The sum of all samples whose name begins so.
pub fn total(samples: &Samples, prefix: &str) -> f64 {
    let values = samples.iter().filter(|(name, _)| name.starts_with(prefix));
    values.map(|(_, value)| value).sum()
}

/// The value of one metric on a page; its labels may be part of the name.
pub fn number(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with([' ', '{']))
    });
    let value = line.and_then(|line| line.rsplit_once(' '));
    value.map_or(f64::NAN, |(_, value)| value.parse().expect("a number"))
}
