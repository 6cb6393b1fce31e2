//! The operator on a real API server, with a real store and real proxies (`cargo xtask bench operator`).
//!
//! How fast it programs a cluster from cold, how long a change takes to arrive, whether a second look writes anything,
//! and how long nobody leads. The yardstick is the API server itself: the same objects, written by a plain client with
//! the same number of calls at a time, on a control plane of its own.

mod changes;
mod cold;
mod figures;
mod floor;
mod landscape;
mod leader;
mod proxy;
mod service;

use clap::Args;
use landbridge_tests::control_plane::ControlPlane;

use figures::Table;
use landscape::Landscape;

/// Destinations of one namespace.
const PER_NAMESPACE: usize = 500;

/// What is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// Destinations in the cluster. Their ports are 10000 to 29999.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..=15_000))]
    destinations: u16,
    /// Proxies, each a process with a port for each destination; mind the limit of open files (ulimit -n).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    proxies: u8,
    /// Changes in the store, one after the other.
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// Resources that are created, one after the other.
    #[arg(long, default_value_t = 50)]
    creations: usize,
    /// How often the leader is asked to stop, and how often it is killed.
    #[arg(long, default_value_t = 3)]
    handovers: usize,
    /// Seconds that writes are counted after a restart of the operator.
    #[arg(long, default_value_t = 30)]
    quiet: u64,
    /// Leave out the plain client.
    #[arg(long)]
    no_floor: bool,
}

/// Measures everything and prints the table.
pub async fn bench(options: Options) {
    let count = usize::from(options.destinations);
    let mut table = Table::new(&options);
    if !options.no_floor {
        say("the plain client");
        table.floor(&floor::measure(count).await);
    }
    say("a control plane, a store, a proxy, and the declarations");
    let plane = ControlPlane::start().await;
    plane.apply_crds().await;
    let mut landscape = Landscape::create(&plane, &options).await;

    say("from cold");
    let mut operator = cold::start(&landscape).await;
    let cold = cold::measure(&landscape, &operator).await;
    table.cold(&cold);

    say("changes in the store");
    table.store_changes(&changes::in_store(&landscape, options.changes).await);
    say("new resources");
    table.creations(&changes::of_resources(&landscape, options.creations).await);

    say("a restart of the operator");
    let declared = count + options.creations;
    let again = cold::again(&landscape, &mut operator, declared, options.quiet).await;
    table.again(&again);

    if options.handovers > 0 {
        say("hand-overs");
        let handovers = leader::measure(&mut landscape, operator, options.handovers).await;
        table.handovers(&handovers);
    }
    table.print();
}

/// Progress; the table alone goes to standard output.
fn say(what: &str) {
    eprintln!("bench: {what}");
}
