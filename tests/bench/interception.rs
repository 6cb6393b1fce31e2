//! What interception costs: the same calls from one pod, straight to the target, to a proxy that is addressed itself, and
//! taken on their way by a proxy in the pod and by one on the node. All in network namespaces, all ways in turn, as root.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use landbridge_destination::{Route, RouteKey};
use landbridge_tests::PATIENCE;
use landbridge_tests::client::{Connection, request};
use landbridge_tests::interception::{Addressed, Beside, Mode, Options, STREAM, Targets, World, entry};
use landbridge_tests::netns::Netns;
use tokio::time::{Instant, sleep};

/// New connections of each way; one of each in turn, so that all see the same noise.
const CONNECTIONS: usize = 4_000;

/// Long answers of each way.
const STREAMS: usize = 7;

/// Destinations that come and go at once.
const MANY: u16 = 5_000;

/// A way to the target.
struct Way {
    name: &'static str,
    pod: Netns,
    address: SocketAddr,
    /// The way that differs from it in nothing but interception.
    beside: Option<usize>,
    connections: Vec<Duration>,
    /// MB/s.
    streams: Vec<f64>,
}

/// Everything that runs.
struct Landscape {
    sidecars: World,
    nodes: World,
    in_pod: Addressed,
    on_node: Addressed,
}

/// Measures, and prints.
pub async fn bench() {
    let mut landscape = landscape().await;
    let mut ways = landscape.ways();
    for way in &ways {
        call(way).await;
    }
    for round in 0..CONNECTIONS {
        if round % 500 == 0 {
            eprintln!("{round} of {CONNECTIONS} connections of each way");
        }
        for way in &mut ways {
            let time = call(way).await;
            way.connections.push(time);
        }
    }
    for round in 0..STREAMS {
        eprintln!("{round} of {STREAMS} long answers of each way");
        for way in &mut ways {
            let speed = stream(way).await;
            way.streams.push(speed);
        }
    }
    report(&ways);
    let idle = &landscape.sidecars.beside[1];
    println!("\nmemory of a sidecar at rest, and of one after the load (MB: all, its own, mapped files):");
    for sidecar in [idle, &landscape.sidecars.beside[0]] {
        println!("  {}", memory(sidecar));
    }
    // It would open thousands of ports on the same cores.
    landscape.nodes.gateway.kill().await;
    set_update(&landscape.nodes).await;
}

async fn landscape() -> Landscape {
    let (sidecars, nodes) = tokio::join!(
        World::start(Options::of(Mode::Sidecar)),
        World::start(Options::of(Mode::Node)),
    );
    let in_pod = sidecars.addressed(&sidecars.shop, ([127, 0, 0, 1]).into()).await;
    let node = nodes.network.node.clone();
    let on_node = nodes.addressed(&node, nodes.options.family.pod(1)).await;
    Landscape {
        sidecars,
        nodes,
        in_pod,
        on_node,
    }
}

impl Landscape {
    fn ways(&self) -> Vec<Way> {
        let plain = entry("plain");
        let way = |name, world: &World, address, beside| Way {
            name,
            pod: world.shop.clone(),
            address,
            beside,
            connections: Vec::new(),
            streams: Vec::new(),
        };
        let (pods, nodes) = (&self.sidecars, &self.nodes);
        let family = pods.options.family;
        let target = SocketAddr::new(family.outside(), Targets::MIRROR);
        let service = plain.frontend(family);
        vec![
            way("direct to the target", pods, target, None),
            way("gateway", pods, pods.gateway_address(plain.port()), None),
            way(
                "proxy in the pod, addressed",
                pods,
                self.in_pod.address(plain),
                None,
            ),
            way("proxy in the pod, redirected", pods, service, Some(2)),
            way(
                "proxy on the node, addressed",
                nodes,
                self.on_node.address(plain),
                None,
            ),
            way("proxy on the node, TPROXY", nodes, service, Some(4)),
        ]
    }
}

/// A new connection with one short request, until the answer is there.
async fn call(way: &Way) -> Duration {
    let address = way.address;
    let answer = way.pod.run(async move {
        let start = Instant::now();
        let mut connection = Connection::open(address).await.expect("it listens");
        let answer = connection.send(request("GET", "/short", &[], "")).await;
        (answer.expect("an answer"), start.elapsed())
    });
    let (answer, time) = answer.await;
    assert_eq!(answer.status, 200, "{}: {}", way.name, answer.text());
    time
}

/// MB/s of one long answer.
async fn stream(way: &Way) -> f64 {
    let address = way.address;
    let bytes = way.pod.run(async move {
        let mut connection = Connection::open(address).await.expect("it listens");
        let start = Instant::now();
        let mut answer = connection
            .start(request("GET", "/stream", &[], ""))
            .await
            .expect("an answer");
        let mut bytes = 0;
        while let Some(frame) = answer.frame().await {
            bytes += frame
                .expect("a whole answer")
                .data_ref()
                .map_or(0, bytes::Bytes::len);
        }
        assert_eq!(bytes, STREAM);
        bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
    });
    bytes.await
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(ways: &[Way]) {
    let micros = |way: &Way| {
        let times: Vec<f64> = way
            .connections
            .iter()
            .map(|time| time.as_secs_f64() * 1e6)
            .collect();
        median(&times)
    };
    println!(
        "\n{CONNECTIONS} new connections with one short request each, {STREAMS} answers of {} MB; medians, all ways in turn\n",
        STREAM / 1_000_000
    );
    println!(
        "| Way | µs | ratio to direct | interception adds µs | MB/s | ratio to direct | ratio to the same proxy addressed |\n\
         |---|---:|---:|---:|---:|---:|---:|"
    );
    for way in ways {
        let (time, speed) = (micros(way), median(&way.streams));
        let (adds, ratio) = way.beside.map_or_else(
            || (String::new(), String::new()),
            |other| {
                let other = &ways[other];
                (
                    format!("{:+.0}", time - micros(other)),
                    format!("{:.2}", speed / median(&other.streams)),
                )
            },
        );
        println!(
            "| {} | {time:.0} | {:.2} | {adds} | {speed:.0} | {:.2} | {ratio} |",
            way.name,
            time / micros(&ways[0]),
            speed / median(&ways[0].streams)
        );
    }
}

fn memory(proxy: &Beside) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.process.pid())).expect("procfs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_ascii_whitespace().next());
        let kibibytes: f64 = value.expect("a field").parse().expect("a number");
        kibibytes * 1024.0 / 1e6
    };
    format!(
        "{}: VmRSS {:.1}, RssAnon {:.1}, RssFile {:.1}",
        proxy.name(),
        field("VmRSS:"),
        field("RssAnon:"),
        field("RssFile:")
    )
}

/// From the moment at which the operator knows them until the kernel has them.
async fn set_update(world: &World) {
    let model = entry("plain").route(world.options.family);
    let routes: Vec<_> = (0..MANY)
        .map(|number| {
            let address = world.options.family.cluster_ip(1_000 + number);
            Arc::new(Route {
                key: RouteKey::new("shop", format!("more-{number}")),
                port: 21_000 + number,
                frontends: vec![SocketAddr::new(address, 80)],
                ..Route::clone(&model)
            })
        })
        .collect();
    let keys: Vec<_> = routes.iter().map(|route| route.key.clone()).collect();
    let node = &world.beside[0];
    let entries = async || node.number("landbridge_redirect_entries").await;
    let few = entries().await;
    let until = async |expected: f64| {
        let start = Instant::now();
        while entries().await != expected {
            assert!(start.elapsed() < PATIENCE, "{}", node.process.log());
            sleep(Duration::from_millis(2)).await;
        }
    };
    let start = Instant::now();
    world.operator.hub.set_routes(routes, Vec::new());
    until(few + f64::from(MANY)).await;
    let grown = start.elapsed();
    let start = Instant::now();
    world.operator.hub.set_routes(Vec::new(), keys);
    until(few).await;
    println!(
        "\n{MANY} destinations more, from the operator's knowledge to the kernel's set: {:.0} ms; and fewer again: {:.0} ms \
         (looked at every 2 ms)",
        grown.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3
    );
}
