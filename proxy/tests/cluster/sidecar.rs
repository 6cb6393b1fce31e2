//! Sidecars and the gateway they ask. Each of them has an operator of its own, so that one can hear what the other has not
//! heard yet.

mod identity;
mod resolving;

use std::net::SocketAddr;

use landbridge_destination::route::{Route, Scope};
use landbridge_destination::serve::{Message, StoreChange};
use tokio::net::TcpListener;

use crate::eventually;
use crate::operator::{Account, Identity, Mounts, Operator};
use crate::proxy::{Proxy, Role, get, route, snapshot};
use crate::store::Store;

const GATEWAY: &str = "gateway-token";

/// A proxy and what it depends on.
struct Part {
    operator: Operator,
    mounts: Mounts,
    proxy: Option<Proxy>,
}

impl Part {
    async fn prepare(identity: &Identity, token: &'static str, account: Account, routes: Vec<Route>) -> Self {
        let mounts = Mounts::new(identity);
        mounts.token(token);
        let operator = Operator::start(identity, &[snapshot(1, routes, Vec::new())]).await;
        operator.sign(identity, identity.ca_pem.clone(), &[(token, account)]);
        Self {
            operator,
            mounts,
            proxy: None,
        }
    }

    fn start(&mut self, role: Role<'_>) {
        self.proxy = Some(Proxy::start_as(role, self.operator.address, &self.mounts));
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap()
    }

    async fn ready(&self) {
        let readiness = &self.proxy().readiness;
        eventually("it is ready", || readiness.pending().is_empty()).await;
    }

    fn changed(&self, name: &str) {
        self.operator.say(&Message::StoreChanged(StoreChange {
            instance: None,
            names: Some(vec![name.to_owned()]),
        }));
    }
}

struct Scene {
    identity: Identity,
    store: Store,
    gateway: Part,
    /// Where the gateway answers sidecars.
    resolve: SocketAddr,
}

impl Scene {
    async fn new(routes: Vec<Route>) -> Self {
        let (identity, store) = (Identity::proper(), Store::start().await);
        // An address of its own: tests bind the port again, and callers on 127.0.0.1 take ports as they come.
        let listener = TcpListener::bind("127.0.9.9:0").await.unwrap();
        let resolve = listener.local_addr().unwrap();
        let mut gateway = Part::prepare(&identity, GATEWAY, Account::gateway(), routes).await;
        gateway.start(Role::Gateway(&store, Some(listener)));
        gateway.ready().await;
        Self {
            identity,
            store,
            gateway,
            resolve,
        }
    }

    /// A sidecar in a pod of this namespace, which is told of these routes.
    async fn sidecar(&self, namespace: &'static str, routes: Vec<Route>) -> Part {
        let mut sidecar = Part::prepare(&self.identity, namespace, Account::of(namespace), routes).await;
        sidecar.start(Role::Sidecar(self.resolve));
        sidecar.ready().await;
        sidecar
    }
}

fn namespaced(name: &str) -> Route {
    Route {
        scope: Scope::Namespaced,
        ..route(name)
    }
}

/// The answer's status, error code and body.
async fn call(address: SocketAddr) -> (u16, Option<String>, String) {
    let text = get("127.0.0.1", address).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let code = head
        .lines()
        .find_map(|line| line.strip_prefix("x-internal-error-code: "));
    (status, code.map(str::to_owned), body.to_owned())
}

async fn until(address: SocketAddr, body: &str) {
    let waiting = async {
        while call(address).await.2 != body {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    // Before anything is asked for again by its age alone.
    let limit = std::time::Duration::from_secs(25);
    assert!(tokio::time::timeout(limit, waiting).await.is_ok(), "never {body}");
}
