//! How long a change takes to arrive, while everything else is at rest.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use kube::Api;
use landbridge_crds::Destination;
use landbridge_tests::client::{Connection, request};
use tokio::time::{Instant, sleep, timeout};

use super::landscape::{Landscape, declare_one, name};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Longest time for one change.
const PATIENCE: Duration = Duration::from_secs(60);

/// Destinations whose changes are watched, in turn.
const WATCHED: usize = 10;

/// Changes of destinations in the store.
pub struct StoreChanges {
    /// Until the store had answered.
    pub stored: Vec<Duration>,
    /// Until a call through every proxy showed it.
    pub arrived: Vec<Duration>,
}

/// New resources.
pub struct Creations {
    /// Until the API server had answered.
    pub stored: Vec<Duration>,
    /// Until the status said Ready and a proxy answered.
    pub usable: Vec<Duration>,
}

/// Changes destinations in the store.
pub async fn in_store(landscape: &Landscape, count: usize) -> StoreChanges {
    let (mut stored, mut arrived) = (Vec::new(), Vec::new());
    for change in 0..count {
        let number = change % WATCHED.min(landscape.count);
        let port = port(landscape, &name(number)).await.expect("it is programmed");
        let mut looks = Vec::new();
        for proxy in &landscape.proxies {
            let address = SocketAddr::new(proxy.address, port);
            let connection = Connection::open(address).await.expect("it listens");
            looks.push(connection);
        }
        let start = Instant::now();
        landscape.put(number, change + 1).await;
        stored.push(start.elapsed());
        let value = (change + 1).to_string();
        let seen = join_all(looks.iter_mut().map(|connection| shows(connection, &value)));
        timeout(PATIENCE, seen).await.expect("the change arrives");
        arrived.push(start.elapsed());
    }
    StoreChanges { stored, arrived }
}

/// Waits until a call comes with this value.
async fn shows(connection: &mut Connection, value: &str) {
    loop {
        let answer = connection
            .send(request("GET", "/", &[], ""))
            .await
            .expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        if answer.json()["headers"]["x-bench"][0] == value {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Declares destinations that the store has.
pub async fn of_resources(landscape: &Landscape, count: usize) -> Creations {
    let (mut stored, mut usable) = (Vec::new(), Vec::new());
    let namespace = landscape.workspaces[0].name();
    for number in landscape.count..landscape.count + count {
        let name = name(number);
        let start = Instant::now();
        declare_one(&landscape.kube, namespace, &name).await;
        stored.push(start.elapsed());
        let serves = async {
            let port = loop {
                match port(landscape, &name).await {
                    Some(port) => break port,
                    None => sleep(LOOK).await,
                }
            };
            let address = SocketAddr::new(landscape.proxies[0].address, port);
            let mut connection = Connection::open(address).await.expect("it listens when Ready");
            shows(&mut connection, "0").await;
        };
        timeout(PATIENCE, serves).await.expect("it is served");
        usable.push(start.elapsed());
    }
    Creations { stored, usable }
}

/// Port of the proxies for a destination of the first namespace, once its status says Ready.
async fn port(landscape: &Landscape, name: &str) -> Option<u16> {
    let api: Api<Destination> = landscape.workspaces[0].destinations.clone();
    let status = api.get(name).await.expect("it is declared").status?;
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    status.proxy_port.and_then(|port| u16::try_from(port).ok())
}

/// Calls the first destination all the time; stops when told, and tells how many calls failed, and of how many.
pub async fn call_until(landscape: &Landscape, stop: tokio::sync::oneshot::Receiver<()>) -> (usize, usize) {
    let port = port(landscape, &name(0)).await.expect("it is programmed");
    let address = SocketAddr::new(landscape.proxies[0].address, port);
    let mut calls = (0, 0);
    let calling = async {
        loop {
            let call = landbridge_tests::client::try_send(address, request("GET", "/", &[], ""));
            let served = call.await.is_ok_and(|answer| answer.status == 200);
            calls.0 += usize::from(!served);
            calls.1 += 1;
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = calling => {}
        _ = stop => {}
    }
    calls
}
