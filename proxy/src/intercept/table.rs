//! Whose address a connection was going to. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

/// Routes (`T`) by the addresses by which workloads call them.
pub(super) struct Table<T> {
    routes: HashMap<SocketAddr, T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            routes: HashMap::new(),
        }
    }
}

impl<T: Clone> Table<T> {
    pub(super) fn add(&mut self, addresses: &[SocketAddr], served: &T) {
        let served = addresses.iter().map(|address| (*address, served.clone()));
        self.routes.extend(served);
    }

    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.routes.keys().copied().collect()
    }
}

/// What becomes of connections to addresses that are no destination's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strangers {
    /// They go on to where they were going.
    Pass,
    /// They are reset: whoever tries again is not intercepted any more.
    Refuse,
}

/// What becomes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<T> {
    Serve(T),
    /// Somebody looks whether interception works.
    Prove,
    Pass,
    /// It was a destination's address a moment ago.
    Stale,
    /// It was going to this very port: passing it on would bring it back here.
    Loop,
}

/// Decides about a connection that was going to `original`. `own` are the addresses of the sockets that take connections.
pub(super) fn decide<T: Clone>(
    original: SocketAddr,
    table: &Table<T>,
    proof: &[SocketAddr],
    own: &[SocketAddr],
    strangers: Strangers,
) -> Verdict<T> {
    if let Some(served) = table.routes.get(&original) {
        return Verdict::Serve(served.clone());
    }
    if proof.contains(&original) {
        return Verdict::Prove;
    }
    // Whatever address: of this machine there may be many, and the port is the same on all.
    if own.iter().any(|own| own.port() == original.port()) {
        return Verdict::Loop;
    }
    match strangers {
        Strangers::Pass => Verdict::Pass,
        Strangers::Refuse => Verdict::Stale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_connection() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut table = Table::default();
        table.add(&[address("10.96.0.7:80"), address("[fd00::7]:80")], &"erp");
        let proof = [address("192.0.2.2:20413")];
        let own = [address("127.0.0.1:20411"), address("[::1]:20411")];
        for (original, passing, refusing) in [
            ("10.96.0.7:80", Verdict::Serve("erp"), Verdict::Serve("erp")),
            ("[fd00::7]:80", Verdict::Serve("erp"), Verdict::Serve("erp")),
            ("10.96.0.7:443", Verdict::Pass, Verdict::Stale),
            ("10.96.0.8:80", Verdict::Pass, Verdict::Stale),
            ("192.0.2.2:20413", Verdict::Prove, Verdict::Prove),
            ("192.0.2.2:80", Verdict::Pass, Verdict::Stale),
            ("127.0.0.1:20411", Verdict::Loop, Verdict::Loop),
            ("[::1]:20411", Verdict::Loop, Verdict::Loop),
            ("10.0.0.5:20411", Verdict::Loop, Verdict::Loop),
        ] {
            let decide = |strangers| decide(address(original), &table, &proof, &own, strangers);
            assert_eq!(decide(Strangers::Pass), passing, "{original}");
            assert_eq!(decide(Strangers::Refuse), refusing, "{original}");
        }
        assert_eq!(table.addresses().len(), 2);
    }
}
