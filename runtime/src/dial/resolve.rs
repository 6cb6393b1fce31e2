//! Names to addresses: the search list, and both address families at once without one waiting long for the other.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{IntoName, Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::{Instant, timeout_at};

/// How long the answer for one address family waits for the other one (RFC 8305, section 3). Name servers and
/// firewalls that drop AAAA queries are common; waiting for them to the end takes 10 s and more.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The name servers, the hosts file and the search list of this machine, with a cache.
pub(super) struct Names {
    resolver: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
}

/// Why a name has no addresses.
#[derive(Debug)]
pub(super) enum LookupError {
    /// The name servers did not answer.
    Timeout,
    /// They (or we) say why.
    Failed(String),
}

impl From<NetError> for LookupError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Timeout => Self::Timeout,
            error => Self::Failed(error.to_string()),
        }
    }
}

impl Names {
    /// As this machine is set up.
    pub(super) fn of_system() -> io::Result<Self> {
        // A machine without resolv.conf can still reach literal addresses and names of its hosts file.
        let (config, options) = read_system_conf().unwrap_or_else(|error| {
            tracing::debug!(%error, "no system resolver configuration");
            Default::default()
        });
        Self::new(config, options)
    }

    /// With these name servers, search list and options.
    pub(super) fn new(config: ResolverConfig, options: ResolverOpts) -> io::Result<Self> {
        let (ndots, domain) = (options.ndots, config.domain.clone());
        let search = domain.into_iter().chain(config.search.iter().cloned()).collect();
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self {
            resolver,
            search,
            ndots,
        })
    }

    /// All addresses of the first name of the search list that has any.
    pub(super) async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let name = host
            .into_name()
            .map_err(|error| LookupError::Failed(error.to_string()))?;
        let mut failure = LookupError::Failed("the name has no address".to_owned());
        // Both families of one candidate before the next one: each family walking the list alone could end at another
        // candidate, that is, at another machine.
        for candidate in candidates(&name, &self.search, self.ndots) {
            match self.both_families(&candidate).await {
                Ok(addresses) => return Ok(addresses),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// What there is shortly after the first answer with an address.
    async fn both_families(&self, name: &Name) -> Result<Vec<IpAddr>, LookupError> {
        let families = [RecordType::AAAA, RecordType::A];
        let mut queries: FuturesUnordered<_> = families
            .into_iter()
            .map(|family| self.resolver.lookup(name.clone(), family))
            .collect();
        let mut found: Vec<IpAddr> = Vec::new();
        let mut failure = None;
        let mut until = Instant::now();
        loop {
            let answer = if found.is_empty() {
                queries.next().await
            } else {
                timeout_at(until, queries.next()).await.unwrap_or(None)
            };
            match answer {
                Some(Ok(lookup)) => {
                    found.extend(lookup.answers().iter().filter_map(|record| record.data.ip_addr()));
                    until = Instant::now() + RESOLUTION_DELAY;
                }
                // No answer at all says more than that one family has no records.
                Some(Err(error)) if matches!(failure, None | Some(LookupError::Failed(_))) => {
                    failure = Some(error.into());
                }
                Some(Err(_)) => {}
                None if found.is_empty() => {
                    return Err(
                        failure.unwrap_or_else(|| LookupError::Failed("the name has no address".to_owned()))
                    );
                }
                None => return Ok(found),
            }
        }
    }
}

/// The full names that `name` may stand for, in the order to try (resolv.conf(5)): as it is first when it has at
/// least `ndots` dots, otherwise last.
fn candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut full = name.clone();
    full.set_fqdn(true);
    if name.is_fqdn() {
        return vec![full];
    }
    let as_it_is_first = usize::from(name.num_labels()) > ndots || name.is_localhost();
    let mut list = Vec::with_capacity(search.len() + 1);
    // A name that gets too long with a search domain is none.
    for candidate in search
        .iter()
        .filter_map(|domain| name.clone().append_domain(domain).ok())
    {
        if !list.contains(&candidate) {
            list.push(candidate);
        }
    }
    list.insert(if as_it_is_first { 0 } else { list.len() }, full);
    list
}

#[cfg(test)]
mod tests;
