//! The calls that must be answered alike, whoever serves them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use landbridge_destination::RouteKey;
use landbridge_tests::interception::{
    Call, Outcome, Samples, Targets, World, bulk_digest, carry_out, delta, entry, total,
};
use landbridge_tests::{PATIENCE, eventually, netns::Netns};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Shop,
    Dev,
}

/// A call, and what must come of it.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) from: Caller,
    /// The destination that is called, by its Service.
    pub(crate) to: &'static str,
    pub(crate) call: Call,
    /// Places in the outcome, and what must be there.
    pub(crate) expected: &'static [(&'static str, Expected)],
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    Text(&'static str),
    Number(u64),
    /// Part of a text.
    Has(&'static str),
    /// The digest of a long body.
    Digest,
    Missing,
}

use Caller::{Dev, Shop};
use Expected::{Digest, Has, Missing, Number, Text};

pub(crate) const GET: Call = Call::Http("GET", "/", &[], "");

/// Connections that were not on their way to anything.
pub(crate) const REFUSED: &str = "landbridge_intercepted_connections_total{outcome=\"Refused\"}";
const OK: (&str, Expected) = ("/status", Number(200));
const FORBIDDEN: &[(&str, Expected)] = &[
    ("/status", Number(403)),
    ("/code", Text("caller-forbidden")),
    ("/origin", Text("Transparent Proxy")),
    ("/message", Has("shop")),
];

const fn scenario(
    name: &'static str,
    (from, to): (Caller, &'static str),
    call: Call,
    expected: &'static [(&'static str, Expected)],
) -> Scenario {
    Scenario {
        name,
        from,
        to,
        call,
        expected,
    }
}

/// All of them, in the order in which they are done.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario(
        "plain",
        (Shop, "plain"),
        Call::Http("POST", "/a/b?c=d", &[("x-own", "kept")], "a body"),
        &[
            OK,
            ("/body/method", Text("POST")),
            ("/body/uri", Text("/a/b?c=d")),
            ("/body/body", Text("a body")),
            ("/body/headers/x-own/0", Text("kept")),
            ("/body/headers/authorization", Missing),
        ],
    ),
    scenario("open to the cluster", (Dev, "plain"), GET, &[OK]),
    // A sidecar hears from the gateway whom to trust.
    scenario(
        "TLS to the target",
        (Shop, "encrypted"),
        GET,
        &[OK, ("/body/uri", Text("/"))],
    ),
    scenario(
        "basic credential",
        (Shop, "basic"),
        GET,
        &[
            OK,
            (
                "/body/headers/authorization/0",
                Text("Basic Y2xlcms6YSBzZWNyZXQ="),
            ),
        ],
    ),
    scenario(
        "OAuth token",
        (Shop, "oauth"),
        GET,
        &[OK, ("/body", Text("token 1"))],
    ),
    scenario(
        "OAuth token, kept",
        (Shop, "oauth"),
        GET,
        &[OK, ("/body", Text("token 1"))],
    ),
    scenario(
        "headers and queries added",
        (Shop, "headers"),
        GET,
        &[
            OK,
            ("/body/headers/x-tenant/0", Text("blue")),
            ("/body/uri", Text("/?client=100")),
        ],
    ),
    scenario("another namespace", (Dev, "basic"), GET, FORBIDDEN),
    scenario(
        "another namespace, unknown destination",
        (Dev, "missing"),
        GET,
        FORBIDDEN,
    ),
    scenario(
        "unknown destination",
        (Shop, "missing"),
        GET,
        &[
            ("/status", Number(502)),
            ("/code", Text("destination-not-found")),
            ("/origin", Text("Destination Service")),
            ("/message", Has("missing")),
        ],
    ),
    scenario(
        "nobody listens",
        (Shop, "closed"),
        GET,
        &[("/status", Number(502)), ("/code", Text("target-unreachable"))],
    ),
    scenario(
        "CONNECT",
        (Shop, "plain"),
        Call::Http("CONNECT", "erp:80", &[], ""),
        &[("/status", Number(405)), ("/code", Text("method-not-allowed"))],
    ),
    scenario(
        "another protocol after an upgrade",
        (Shop, "upgrade"),
        Call::Upgrade,
        &[
            ("/status", Text("http/1.1 101 switching protocols")),
            ("/back", Text("two-way talk")),
        ],
    ),
    scenario(
        "a long body up",
        (Shop, "plain"),
        Call::Upload,
        &[OK, ("/body/digest", Digest)],
    ),
    scenario(
        "a long body down",
        (Shop, "plain"),
        Call::Download,
        &[OK, ("/digest", Digest)],
    ),
    scenario(
        "TCP both ways, half closed",
        (Shop, "echo"),
        Call::Echo,
        &[("/digest", Digest)],
    ),
    scenario(
        "TCP, another namespace",
        (Dev, "echo"),
        Call::Echo,
        &[("/refused", Text("closed"))],
    ),
    scenario(
        "TCP, the peer speaks first",
        (Dev, "greeter"),
        Call::Greeting,
        &[
            ("/first", Text("220 ready\r\n")),
            ("/rest", Text("250 HELO pod\r\n")),
        ],
    ),
    scenario(
        "behind a connector",
        (Shop, "erp"),
        GET,
        &[OK, ("/body/headers/host/0", Text("erp.company:44300"))],
    ),
    scenario(
        "behind a connector, another namespace",
        (Dev, "erp"),
        GET,
        FORBIDDEN,
    ),
    scenario(
        "each request says which",
        (Shop, "each"),
        Call::Http("GET", "/", &[("x-destination-name", "basic")], ""),
        &[
            OK,
            (
                "/body/headers/authorization/0",
                Text("Basic Y2xlcms6YSBzZWNyZXQ="),
            ),
        ],
    ),
];

/// What a scenario has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Result {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    /// What was counted, whoever has.
    pub(crate) counted: Samples,
    /// The gateway, a proxy beside the workload, or both.
    pub(crate) served_by: Vec<&'static str>,
}

impl Caller {
    pub(crate) fn pod(self, world: &World) -> &Netns {
        match self {
            Shop => &world.shop,
            Dev => &world.dev,
        }
    }
}

/// Does one scenario in a world, and checks it.
pub(crate) async fn perform(world: &World, scenario: &Scenario) -> Result {
    let before = counted(world).await;
    let pod = scenario.from.pod(world);
    let address = entry(scenario.to).frontend(world.options.family);
    let outcome = carry_out(pod, address, scenario.call).await;
    check(world, scenario, &outcome);
    let [gateway, beside] = settled(world, scenario, &before).await;
    let served_by = [("gateway", &gateway), ("beside", &beside)];
    Result {
        name: scenario.name,
        outcome,
        served_by: served_by
            .iter()
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(name, _)| *name)
            .collect(),
        counted: sum(gateway, &beside),
    }
}

fn check(world: &World, scenario: &Scenario, outcome: &Outcome) {
    for (place, expected) in scenario.expected {
        let found = outcome.pointer(place);
        let good = match expected {
            Text(text) => found == Some(&json!(text)),
            Number(number) => found == Some(&json!(number)),
            Has(part) => found
                .and_then(Value::as_str)
                .is_some_and(|text| text.contains(part)),
            Digest => found == Some(&json!(bulk_digest())),
            Missing => found.is_none(),
        };
        assert!(
            good,
            "{:?}: {}: {place} should be {expected:?}: {outcome:#}",
            world.options, scenario.name
        );
    }
}

/// Of the gateway, and of all proxies beside workloads.
async fn counted(world: &World) -> [Samples; 2] {
    let mut beside = Samples::new();
    for one in &world.beside {
        beside = sum(one.samples().await, &beside);
    }
    [world.gateway_samples().await, beside]
}

fn sum(mut one: Samples, other: &Samples) -> Samples {
    for (name, value) in other {
        *one.entry(name.clone()).or_default() += value;
    }
    one
}

/// What a call has counted, when all of it is over.
async fn settled(world: &World, scenario: &Scenario, before: &[Samples; 2]) -> [Samples; 2] {
    let until = Instant::now() + PATIENCE;
    let mut last = [Samples::new(), Samples::new()];
    loop {
        let now = counted(world).await;
        let more = [delta(&before[0], &now[0]), delta(&before[1], &now[1])];
        let open = more.iter().flat_map(|samples| samples.keys()).any(|name| {
            ["in_flight", "proxy_connections", "open_tcp"]
                .iter()
                .any(|gauge| name.contains(gauge))
        });
        let done = more
            .iter()
            .map(|samples| total(samples, "landbridge_proxy_"))
            .sum::<f64>()
            > 0.0;
        if done && !open && more == last {
            return more;
        }
        assert!(
            Instant::now() < until,
            "{}: what was counted: {more:#?}",
            scenario.name
        );
        last = more;
        sleep(Duration::from_millis(20)).await;
    }
}

/// The destination goes, its cluster IP is given to another Service, and that one is reached.
pub(crate) async fn another_service_gets_its_address(world: &World, name: &str) {
    let address = entry(name).frontend(world.options.family);
    let other = SocketAddr::new(world.options.family.outside(), Targets::OTHER);
    let gone = RouteKey::new("shop", name);
    world.operator.hub.set_routes(Vec::new(), vec![gone]);
    world.network.services(&BTreeMap::from([(address, other)]));
    eventually("the other Service is reached", async || {
        let outcome = carry_out(&world.shop, address, GET).await;
        if outcome["body"] == "the other one" {
            Ok(())
        } else {
            Err(outcome.to_string())
        }
    })
    .await;
}
