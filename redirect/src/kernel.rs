//! The operations on the kernel: apply, update, check, remove, read. Each is worked on by a thread that may block and has
//! a deadline.

use std::time::Duration;

use rustix::io::Errno;
use tokio::time::timeout;

use crate::error::RedirectError;
use crate::netlink::batch::Batch;
use crate::netlink::socket::NetlinkSocket;
use crate::netlink::{routing, table};
use crate::plan::{Features, plan};
use crate::ruleset::{Ruleset, owner_of};
use crate::settings::{Destinations, Family, Mode, Settings};

/// Limit for an operation.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// How often a change is tried while others change the packet filter, too.
const TRIES: usize = 20;

/// Who may write the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Whoever has it now.
    Take,
    /// Only if nobody else has it.
    Keep,
}

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was wanted is there; whether anything had to be changed.
    Done {
        /// Something was not as it had to be.
        changed: bool,
        /// What the kernel can do.
        features: Features,
    },
    /// Another process has the table.
    OwnedByOther,
}

/// What the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The table.
    pub table: Ruleset,
    /// Families whose packets with [`INTERCEPTED_MARK`](crate::INTERCEPTED_MARK) are delivered here.
    pub routed: Vec<Family>,
}

/// Makes the kernel's table and policy routing what `settings` and `destinations` say, in one transaction, and only if
/// they are not so already.
///
/// # Errors
/// [`RedirectError`]. Before it the table was as before or as wanted, nothing between.
pub async fn apply(
    settings: &Settings,
    owner: &str,
    destinations: &Destinations,
    features: Features,
    claim: Claim,
) -> Result<Outcome, RedirectError> {
    settings.check()?;
    crate::settings::check_destinations(destinations)?;
    let (settings, owner, destinations) = (settings.clone(), owner.to_owned(), destinations.clone());
    blocking("writing the redirection rules", move || {
        apply_now(&settings, &owner, &destinations, features, claim)
    })
    .await
}

/// Removes table and policy routing; of `owner` only, or whoever's.
///
/// # Errors
/// [`RedirectError`].
pub async fn remove(owner: Option<&str>) -> Result<Outcome, RedirectError> {
    let owner = owner.map(str::to_owned);
    blocking("removing the redirection rules", move || {
        remove_now(owner.as_deref())
    })
    .await
}

/// Reads what is there; `None` without a table.
///
/// # Errors
/// [`RedirectError`].
pub async fn read() -> Result<Option<Installed>, RedirectError> {
    blocking("reading the redirection rules", read_now).await
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, RedirectError> + Send + 'static,
) -> Result<T, RedirectError> {
    let after = DEADLINE;
    match timeout(after, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(RedirectError::Ending),
        Err(_) => Err(RedirectError::Timeout { doing, after }),
    }
}

fn apply_now(
    settings: &Settings,
    owner: &str,
    destinations: &Destinations,
    mut features: Features,
    claim: Claim,
) -> Result<Outcome, RedirectError> {
    // The routing first: a packet that is marked without it would be delivered to nobody.
    let mut changed = false;
    if settings.mode == Mode::Node {
        if claim == Claim::Keep && owned_by_other(owner)? {
            return Ok(Outcome::OwnedByOther);
        }
        features.bridge_filter = bridge_filter();
        changed |= ensure_routing(&mut features)?;
    }
    let doing = "writing the redirection rules";
    let failed = |error| RedirectError::kernel(doing, needed(settings), error);
    let socket = NetlinkSocket::netfilter().map_err(failed)?;
    for _ in 0..TRIES {
        let wanted = plan(settings, owner, destinations, features);
        let (there, generation) = table::read(&socket).map_err(failed)?;
        if claim == Claim::Keep && there.as_ref().is_some_and(|there| !is_of(there, owner)) {
            return Ok(Outcome::OwnedByOther);
        }
        let mut batch = Batch::new(Some(generation));
        match &there {
            Some(there) if *there == wanted => return Ok(Outcome::Done { changed, features }),
            // Only the destinations differ: no packet meanwhile meets a table without them.
            Some(there) if there.clone().with_destinations(destinations) == wanted => {
                table::update(&mut batch, there, &wanted);
            }
            _ => table::replace(&mut batch, &wanted),
        }
        match socket.commit(batch) {
            Ok(()) => changed = true,
            // Changed by others since it was read.
            Err(Errno::RESTART | Errno::INTR) => continue,
            Err(error @ (Errno::NOENT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT)) => {
                let poorer = features.poorer(settings.mode == Mode::Node);
                features = poorer.ok_or_else(|| failed(error))?;
                tracing::debug!(%error, ?features, "this kernel has not everything; trying with less");
                continue;
            }
            Err(error) => return Err(failed(error)),
        }
        if settings.mode == Mode::Node {
            // A predecessor that has just left may have taken the routing with it.
            ensure_routing(&mut features)?;
        }
        return confirm(&socket, &wanted, owner, features, changed).map_err(failed);
    }
    Err(RedirectError::Busy { doing, tries: TRIES })
}

/// A kernel before 5.10 does not keep the owner: without it two versions would fight for the table.
fn confirm(
    socket: &NetlinkSocket,
    wanted: &Ruleset,
    owner: &str,
    features: Features,
    changed: bool,
) -> Result<Outcome, Errno> {
    let comment = table::comment_now(socket)?;
    if comment.as_deref().is_some_and(|comment| comment.is_empty()) && !wanted.comment.is_empty() {
        return Err(Errno::OPNOTSUPP);
    }
    match comment.as_deref().map(owner_of) {
        Some(Some(now)) if now != owner => Ok(Outcome::OwnedByOther),
        _ => Ok(Outcome::Done { changed, features }),
    }
}

/// Whether `there` is kept by this owner, or by nobody.
fn is_of(there: &Ruleset, owner: &str) -> bool {
    there.owner().is_none_or(|now| now == owner)
}

fn owned_by_other(owner: &str) -> Result<bool, RedirectError> {
    let failed = |error| RedirectError::kernel("reading the redirection rules", "CONFIG_NFT_TPROXY", error);
    let socket = NetlinkSocket::netfilter().map_err(failed)?;
    let comment = table::comment_now(&socket).map_err(failed)?;
    Ok(comment
        .as_deref()
        .and_then(owner_of)
        .is_some_and(|now| now != owner))
}

/// Whether packets in bridges pass the packet filter of IP. No such file: they do not.
fn bridge_filter() -> bool {
    ["iptables", "ip6tables"].iter().any(|kind| {
        let file = format!("/proc/sys/net/bridge/bridge-nf-call-{kind}");
        std::fs::read_to_string(file).is_ok_and(|text| text.trim() == "1")
    })
}

/// Options of the kernel's configuration beside nf_tables itself.
fn needed(settings: &Settings) -> &'static str {
    match settings.mode {
        Mode::Sidecar { .. } => "CONFIG_NFT_NAT and CONFIG_NFT_REDIR",
        Mode::Node => "CONFIG_NFT_TPROXY and CONFIG_NFT_CT",
    }
}

/// Adds what is missing of the policy routing; whether anything was. A kernel without IPv6 goes on without.
fn ensure_routing(features: &mut Features) -> Result<bool, RedirectError> {
    let doing = "writing the policy routing";
    let failed = |error| RedirectError::kernel(doing, "CONFIG_IP_MULTIPLE_TABLES", error);
    let socket = NetlinkSocket::routing().map_err(failed)?;
    let mut changed = false;
    for family in Family::ALL {
        if family == Family::V6 && !features.ipv6 {
            continue;
        }
        let added = route_family(&socket, family);
        match added {
            Ok(added) => changed |= added,
            // Not compiled in, switched off at boot, switched off on the loopback device.
            Err(Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::ACCESS) if family == Family::V6 => {
                tracing::info!("this node has no IPv6; connections over IPv4 are intercepted");
                features.ipv6 = false;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(changed)
}

fn route_family(socket: &NetlinkSocket, family: Family) -> Result<bool, Errno> {
    if routing::works(socket, family)? {
        return Ok(false);
    }
    // Something of it may be there, and something else in its place.
    routing::remove(socket, family)?;
    routing::add(socket, family)?;
    Ok(true)
}

fn remove_now(owner: Option<&str>) -> Result<Outcome, RedirectError> {
    let doing = "removing the redirection rules";
    let failed = |error| RedirectError::kernel(doing, "CONFIG_NFT_REDIR", error);
    let socket = NetlinkSocket::netfilter().map_err(failed)?;
    let features = Features::default();
    for _ in 0..TRIES {
        let generation = table::generation(&socket).map_err(failed)?;
        let comment = table::comment_now(&socket).map_err(failed)?;
        let now = comment.as_deref().and_then(owner_of);
        if owner.is_some() && now.is_some() && now != owner {
            return Ok(Outcome::OwnedByOther);
        }
        let mut changed = false;
        if comment.is_some() {
            let mut batch = Batch::new(Some(generation));
            table::remove(&mut batch);
            match socket.commit(batch) {
                Ok(()) => changed = true,
                Err(Errno::RESTART | Errno::INTR) => continue,
                Err(error) => return Err(failed(error)),
            }
        }
        changed |= remove_routing()?;
        let successor = table::comment_now(&socket).map_err(failed)?;
        if successor.is_some_and(|comment| comment.contains(&Mode::Node.to_string())) {
            // It came between the two and relies on what we have just taken away.
            ensure_routing(&mut Features::default())?;
        }
        return Ok(Outcome::Done { changed, features });
    }
    Err(RedirectError::Busy { doing, tries: TRIES })
}

fn remove_routing() -> Result<bool, RedirectError> {
    let failed =
        |error| RedirectError::kernel("removing the policy routing", "CONFIG_IP_MULTIPLE_TABLES", error);
    let socket = NetlinkSocket::routing().map_err(failed)?;
    let mut changed = false;
    for family in Family::ALL {
        changed |= routing::works(&socket, family).unwrap_or(false);
        routing::remove(&socket, family).map_err(failed)?;
    }
    Ok(changed)
}

fn read_now() -> Result<Option<Installed>, RedirectError> {
    let failed = |error| RedirectError::kernel("reading the redirection rules", "CONFIG_NFT_REDIR", error);
    let socket = NetlinkSocket::netfilter().map_err(failed)?;
    let (Some(table), _) = table::read(&socket).map_err(failed)? else {
        return Ok(None);
    };
    let routing = NetlinkSocket::routing().map_err(failed)?;
    let works = |family: &Family| routing::works(&routing, *family).unwrap_or(false);
    let routed = Family::ALL.into_iter().filter(works).collect();
    Ok(Some(Installed { table, routed }))
}
