//! Load runs with a ratio to something else in the same run (`cargo xtask bench`): of the proxies, of the operator on a
//! real API server (`cargo xtask bench operator`), and of interception in network namespaces (`cargo xtask bench
//! interception`).
//!
//! The target is a process of its own (this program with the argument `target`), so that CPU time can be told apart:
//! what the target spends on a request answered directly is the yardstick for what the proxy adds. Rounds alternate
//! between the ways, medians are reported, all traffic stays on loopback.

mod interception;
mod operator;

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use landbridge_tests::client::{Connection, request};
use landbridge_tests::standalone::Standalone;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Connections kept alive, one request at a time on each.
const CONNECTIONS: usize = 50;

/// Length of one round.
const ROUND: Duration = Duration::from_secs(4);

/// Rounds of each way.
const ROUNDS: usize = 5;

/// Bytes of an answer.
const BODY: usize = 1024;

/// Measures, and prints a table. Without a command: requests through proxy, tunnel and connector.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The operator on a real API server: from cold, changes, a restart, hand-overs.
    Operator(operator::Options),
    /// What interception adds to a connection and takes from a stream, in network namespaces; as root.
    Interception,
    /// The target of the requests; a process of its own.
    #[command(hide = true)]
    Target,
}

fn main() {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match arguments.what {
        None => runtime.block_on(bench()),
        Some(What::Operator(options)) => runtime.block_on(operator::bench(options)),
        Some(What::Interception) => runtime.block_on(interception::bench()),
        Some(What::Target) => runtime.block_on(target()),
    }
}

/// One way to the target.
struct Way {
    name: &'static str,
    address: SocketAddr,
    path: &'static str,
    /// Processes whose CPU time counts for it.
    processes: Vec<i32>,
    rounds: Vec<Round>,
}

#[derive(Clone, Copy)]
struct Round {
    per_second: f64,
    /// CPU seconds of the way's processes for 10 000 requests.
    cpu: f64,
    p50: f64,
    p99: f64,
}

async fn bench() {
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("own file"))
        .arg("target")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the target starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout"))
        .read_line(&mut line)
        .await
        .expect("an address");
    let target: SocketAddr = line.trim().parse().expect("an address");
    let target_pid = i32::try_from(child.id().expect("it runs")).expect("a pid");

    let standalone = Standalone::start(&["--log", "warn"]).await;
    let resting = standalone.process.resident();
    let http = |extra: serde_json::Value| {
        let mut destination = json!({"Type": "HTTP", "URL": format!("http://{target}"), "ProxyType": "Internet",
            "Authentication": "NoAuthentication"});
        for (key, value) in extra.as_object().expect("an object") {
            destination[key] = value.clone();
        }
        destination
    };
    let oauth = http(
        json!({"Authentication": "OAuth2ClientCredentials", "clientId": "client", "clientSecret": "secret",
        "tokenServiceURL": format!("http://{target}/token"), "tokenServiceURLType": "Dedicated"}),
    );
    let oauth = standalone.serve("oauth", oauth).await;
    let mapping = format!(
        "[[mappings]]\nvirtual_host = \"erp.company\"\nvirtual_port = 44300\ninternal_host = \"{}\"\ninternal_port = {}\n\
         protocol = \"HTTP\"\n[[mappings.resources]]\npath = \"/\"\n",
        target.ip(),
        target.port()
    );
    let connector = standalone.connector("bench", &mapping).await;
    let connector_resting = connector.process.resident();
    let on_premise = http(json!({"URL": "http://erp.company:44300", "ProxyType": "OnPremise"}));
    let on_premise = standalone.serve("erp", on_premise).await;

    let proxy = standalone.process.pid();
    let mut ways = [
        Way {
            name: "direct",
            address: target,
            path: "/",
            processes: vec![target_pid],
            rounds: Vec::new(),
        },
        Way {
            name: "proxy, OAuth token kept",
            address: oauth,
            path: "/",
            processes: vec![proxy],
            rounds: Vec::new(),
        },
        Way {
            name: "proxy, tunnel, connector",
            address: on_premise,
            path: "/",
            processes: vec![proxy, connector.process.pid()],
            rounds: Vec::new(),
        },
    ];
    for round in 0..ROUNDS {
        for way in &mut ways {
            eprintln!("round {} of {ROUNDS}: {}", round + 1, way.name);
            let measured = measure(way).await;
            way.rounds.push(measured);
        }
    }
    report(&ways);
    println!(
        "\nresident memory: standalone (store, acceptor, proxy) {:.1} MB at rest, {:.1} MB after the load; connector {:.1} MB at rest, {:.1} MB after",
        megabytes(resting),
        megabytes(standalone.process.resident()),
        megabytes(connector_resting),
        megabytes(connector.process.resident()),
    );
    bulk(target, on_premise).await;
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

async fn measure(way: &Way) -> Round {
    let count = Arc::new(AtomicU64::new(0));
    let cpu_before = cpu_seconds(&way.processes);
    let start = Instant::now();
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (address, path, count) = (way.address, way.path, Arc::clone(&count));
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut connection = Connection::open(address).await.expect("it listens");
                while start.elapsed() < ROUND {
                    let sent = Instant::now();
                    let answer = connection
                        .send(request("GET", path, &[], ""))
                        .await
                        .expect("an answer");
                    assert!(
                        answer.status == 200 && answer.body.len() == BODY,
                        "{}: {}",
                        answer.status,
                        answer.text()
                    );
                    times.push(sent.elapsed());
                    count.fetch_add(1, Ordering::Relaxed);
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await.expect("no panic"));
    }
    let elapsed = start.elapsed().as_secs_f64();
    let requests = count.load(Ordering::Relaxed) as f64;
    times.sort_unstable();
    let quantile = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    Round {
        per_second: requests / elapsed,
        cpu: (cpu_seconds(&way.processes) - cpu_before) / requests * 1e4,
        p50: quantile(0.5),
        p99: quantile(0.99),
    }
}

fn report(ways: &[Way]) {
    println!(
        "\n{CONNECTIONS} connections kept alive, {BODY}-byte answers, {ROUNDS} rounds of {} s, medians; load, target and proxy share this machine's cores\n",
        ROUND.as_secs()
    );
    println!(
        "{:28} {:>10} {:>22} {:>18} {:>8} {:>8}",
        "way", "requests/s", "requests/CPU-second", "ratio to direct", "p50 ms", "p99 ms"
    );
    let median = |way: &Way, field: fn(&Round) -> f64| {
        let mut values: Vec<f64> = way.rounds.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let direct = 1e4 / median(&ways[0], |round| round.cpu);
    for way in ways {
        let per_cpu = 1e4 / median(way, |round| round.cpu);
        println!(
            "{:28} {:>10.0} {:>22.0} {:>18.2} {:>8.2} {:>8.2}",
            way.name,
            median(way, |round| round.per_second),
            per_cpu,
            per_cpu / direct,
            median(way, |round| round.p50),
            median(way, |round| round.p99),
        );
    }
    println!(
        "\nrequests/CPU-second: of the target for 'direct', of the proxy (and connector) for the others"
    );
}

/// One large answer, directly and through proxy, tunnel and connector.
async fn bulk(target: SocketAddr, on_premise: SocketAddr) {
    let mut speeds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (speeds, address) in speeds.iter_mut().zip([target, on_premise]) {
            let mut connection = Connection::open(address).await.expect("it listens");
            let start = Instant::now();
            let mut answer = connection
                .start(request("GET", "/bulk", &[], ""))
                .await
                .expect("an answer");
            let mut bytes = 0_usize;
            while let Some(frame) = answer.frame().await {
                bytes += frame.expect("a whole answer").data_ref().map_or(0, Bytes::len);
            }
            speeds.push(bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
        }
    }
    let [direct, tunnel] = speeds.map(|mut speeds| {
        speeds.sort_by(f64::total_cmp);
        speeds[speeds.len() / 2]
    });
    println!(
        "one 256 MB answer: direct {direct:.0} MB/s, proxy, tunnel and connector {tunnel:.0} MB/s, ratio {:.2}",
        tunnel / direct
    );
}

fn cpu_seconds(processes: &[i32]) -> f64 {
    processes
        .iter()
        .map(|pid| landbridge_tests::process::cpu_seconds(*pid))
        .sum()
}

/// The target: as little work as an HTTP server can do.
async fn target() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    let body = Bytes::from(vec![b'x'; BODY]);
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let (body, piece) = (body.clone(), piece.clone());
        tokio::spawn(async move {
            let service = service_fn(|asked: Request<Incoming>| {
                let (body, piece) = (body.clone(), piece.clone());
                async move { Ok::<_, std::convert::Infallible>(answer(&asked, body, piece)) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(
    asked: &Request<Incoming>,
    body: Bytes,
    piece: Bytes,
) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>> {
    match asked.uri().path() {
        "/token" => {
            let token = json!({"access_token": "t".repeat(1000), "token_type": "bearer", "expires_in": 3600})
                .to_string();
            Response::new(Full::from(token).boxed_unsync())
        }
        "/bulk" => {
            let pieces = futures_util::stream::iter(
                (0..4096).map(move |_| Ok(hyper::body::Frame::data(piece.clone()))),
            );
            Response::new(http_body_util::StreamBody::new(pieces).boxed_unsync())
        }
        _ => Response::new(Full::new(body).boxed_unsync()),
    }
}
