//! The keeper: follows destinations, repairs, gives way to a newer process, leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use landbridge_redirect::kernel::{Installed, read};
use landbridge_redirect::plan::{Features, plan};
use landbridge_redirect::settings::Family;
use landbridge_redirect::{Destinations, Keeper, Settings, State, Status};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::namespace::{alone, sh};
use crate::proxy::LIMIT;
use crate::tool::{applied, destinations, many, nft, routing};

struct Running {
    owner: String,
    destinations: watch::Sender<Arc<Destinations>>,
    status: watch::Receiver<Status>,
    metrics: Metrics,
    shutdown: Shutdown,
    drained: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

fn keep(to: Destinations) -> Running {
    let metrics = Metrics::new();
    let keeper = Keeper::new(Settings::node(), &metrics).looking_every(Duration::from_millis(100));
    let (owner, status) = (keeper.owner().to_owned(), keeper.status());
    let (destinations, heard) = watch::channel(Arc::new(to));
    let (drained, when) = oneshot::channel();
    let shutdown = Shutdown::new();
    let task = tokio::spawn(keeper.run(heard, shutdown.clone(), async {
        let _ = when.await;
    }));
    Running {
        owner,
        destinations,
        status,
        metrics,
        shutdown,
        drained: Some(drained),
        task,
    }
}

impl Running {
    async fn is(&mut self, state: State) -> Status {
        let reached = self.status.wait_for(|status| status.state == state);
        timeout(LIMIT, reached)
            .await
            .expect("the state is reached")
            .expect("it runs")
            .clone()
    }

    fn figure(&self, name: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        let name = format!("landbridge_redirect_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{name} in {text}"))
            .parse()
            .unwrap()
    }

    /// What must be there for these destinations.
    fn expected(&self, to: &Destinations) -> Option<Installed> {
        Some(Installed {
            table: plan(&Settings::node(), &self.owner, to, Features::default()),
            routed: Family::ALL.to_vec(),
        })
    }

    async fn end(mut self) {
        self.shutdown.begin();
        let _ = self.drained.take().expect("once").send(());
        timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

/// Until the kernel has this.
async fn becomes(expected: Option<Installed>) {
    let mut last = None;
    for _ in 0..400 {
        last = read().await.ok();
        if last.as_ref() == Some(&expected) {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{last:?} is not {expected:?}");
}

#[test]
fn what_somebody_else_changes_is_repaired_and_counted() {
    alone(
        "drift::what_somebody_else_changes_is_repaired_and_counted",
        || async {
            let to = destinations(&["10.96.0.1:80", "[fd00::1]:80"]);
            let mut keeper = keep(to.clone());
            keeper.is(State::Installed).await;
            for (repairs, harm) in (1..).zip([
            "nft delete table inet landbridge",
            "nft flush ruleset",
            "nft flush chain inet landbridge prerouting",
            "nft insert rule inet landbridge prerouting accept",
            "nft add rule inet landbridge output counter",
            "nft delete element inet landbridge destinations4 { 10.96.0.1 . 80 }",
            "nft add element inet landbridge destinations6 { fd00::2 . 80 }",
            "nft add chain inet landbridge other '{ type filter hook forward priority 0; policy drop; }'",
            "ip rule del priority 90",
            "ip -6 rule del priority 90",
            "ip route flush table 20411",
            "ip route replace unreachable default table 20411",
            "ip rule add priority 1 fwmark 0x1b2 unreachable; ip rule del priority 1; ip rule del priority 90",
        ]) {
            sh(harm);
            becomes(keeper.expected(&to)).await;
            for _ in 0..400 {
                if keeper.figure("repairs_total") >= repairs {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(keeper.figure("repairs_total"), repairs, "{harm}");
        }
            assert_eq!(keeper.figure("installed"), 1);
            assert_eq!(keeper.figure("failures_total"), 0);
            keeper.end().await;
        },
    );
}

#[test]
fn destinations_are_followed_while_others_change_the_packet_filter() {
    alone(
        "drift::destinations_are_followed_while_others_change_the_packet_filter",
        || async {
            let mut keeper = keep(Destinations::new());
            keeper.is(State::Installed).await;
            // As kube-proxy does, only faster.
            let noise = tokio::task::spawn_blocking(|| {
                for number in 0..50 {
                    nft(&format!(
                        "table ip noise{number} {{ chain c {{ type filter hook input priority 0; }}; }}"
                    ));
                }
            });
            for count in [5, 5000, 4000, 10] {
                keeper.destinations.send_replace(Arc::new(many(count)));
                becomes(keeper.expected(&many(count))).await;
            }
            noise.await.unwrap();
            // Not a repair: nobody touched what is ours.
            assert_eq!(keeper.figure("repairs_total"), 0);
            assert_eq!(keeper.figure("entries"), 10);
            keeper.end().await;
        },
    );
}

#[test]
fn at_the_end_connections_may_drain_before_everything_goes() {
    alone(
        "drift::at_the_end_connections_may_drain_before_everything_goes",
        || async {
            let before = routing();
            let mut keeper = keep(many(20));
            keeper.is(State::Installed).await;
            keeper.shutdown.begin();
            // Nothing new comes; the rules for what exists are there until it has drained.
            becomes(keeper.expected(&Destinations::new())).await;
            let _ = keeper.drained.take().unwrap().send(());
            timeout(LIMIT, &mut keeper.task).await.unwrap().unwrap();
            assert_eq!(keeper.status.borrow().state, State::Removed);
            assert_eq!(read().await, Ok(None));
            assert_eq!(routing(), before);
        },
    );
}

#[test]
fn an_older_process_gives_way_and_takes_nothing_along() {
    alone(
        "drift::an_older_process_gives_way_and_takes_nothing_along",
        || async {
            let (old_to, new_to) = (many(10), many(20));
            let mut old = keep(old_to);
            old.is(State::Installed).await;
            let mut new = keep(new_to.clone());
            new.is(State::Installed).await;
            old.is(State::Superseded).await;
            // What the old one still hears and does in the end changes nothing.
            old.destinations.send_replace(Arc::new(many(3)));
            old.end().await;
            becomes(new.expected(&new_to)).await;
            assert_eq!(new.figure("repairs_total"), 0);
            new.end().await;
            assert_eq!(read().await, Ok(None));
        },
    );
}

#[test]
fn what_was_written_by_hand_is_taken_over() {
    alone("drift::what_was_written_by_hand_is_taken_over", || async {
        applied(&Settings::node(), "", &many(3)).await;
        let to = many(7);
        let mut keeper = keep(to.clone());
        keeper.is(State::Installed).await;
        becomes(keeper.expected(&to)).await;
        applied(&Settings::node(), "", &many(3)).await;
        becomes(keeper.expected(&to)).await;
        keeper.end().await;
    });
}

#[test]
fn one_wrong_destination_is_told_and_costs_no_other() {
    alone(
        "drift::one_wrong_destination_is_told_and_costs_no_other",
        || async {
            let good = destinations(&["10.96.0.1:80"]);
            let mut keeper = keep(destinations(&["10.96.0.1:80", "127.0.0.1:80"]));
            let status = keeper.is(State::Installed).await;
            assert_eq!(status.entries, 1);
            let problem = status.problem.unwrap();
            assert!(problem.contains("127.0.0.1:80"), "{problem}");
            becomes(keeper.expected(&good)).await;
            keeper.end().await;
        },
    );
}
