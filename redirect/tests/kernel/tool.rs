//! What tests share: destinations, and nft(8) as the judge of what the kernel has.

use std::net::SocketAddr;

use landbridge_redirect::kernel::{Claim, Outcome, apply};
use landbridge_redirect::plan::Features;
use landbridge_redirect::{Destinations, Settings};

use crate::namespace::{sh, with_input};

/// A table of somebody else, with our names.
pub(crate) const FOREIGN: &str = "table ip landbridge {
  set destinations4 { type ipv4_addr . inet_service; elements = { 10.9.9.9 . 99 } }
  chain output {
    type nat hook output priority -100;
    ip daddr . tcp dport @destinations4 counter return comment \"theirs\"
  }
}
table inet other {
  chain prerouting {
    type filter hook prerouting priority -300;
    meta mark 7 counter accept comment \"theirs\"
  }
}
";

pub(crate) fn destinations(texts: &[&str]) -> Destinations {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// So many, half of them of IPv6.
pub(crate) fn many(count: u16) -> Destinations {
    let address = |number: u16| -> SocketAddr {
        let [high, low] = number.to_be_bytes();
        let text = if number.is_multiple_of(2) {
            format!("10.96.{high}.{low}:80")
        } else {
            format!("[fd00:96::{number:x}]:8080")
        };
        text.parse().unwrap()
    };
    (0..count).map(address).collect()
}

/// Applies; panics unless it could be done.
pub(crate) async fn applied(settings: &Settings, owner: &str, to: &Destinations) -> bool {
    match apply(settings, owner, to, Features::default(), Claim::Take).await {
        Ok(Outcome::Done { changed, .. }) => changed,
        other => panic!("{other:?}"),
    }
}

/// Our table as nft(8) lists it, without numbers that change by themselves.
pub(crate) fn listed() -> String {
    sh("nft -s list table inet landbridge")
}

/// Everything but our table.
pub(crate) fn others() -> String {
    sh("nft list table ip landbridge; nft list table inet other")
}

/// Loads rules as nft(8) reads them.
pub(crate) fn nft(rules: &str) {
    with_input("nft", &["-f", "-"], rules).unwrap();
}

/// Policy routing of this namespace as ip(8) shows it.
pub(crate) fn routing() -> String {
    sh("for f in -4 -6; do ip $f rule show; ip $f route show table 20411 2>/dev/null || true; done")
}
