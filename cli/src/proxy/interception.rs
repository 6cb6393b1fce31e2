//! Modes node and sidecar: the sockets that intercepted connections arrive at, the rules that lead them there, and the
//! proof that they do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use landbridge_proxy::intercept::{Intercept, Listeners, Way};
use landbridge_redirect::proof::{self, Token};
use landbridge_redirect::{Keeper, OWN_MARK, PROOF_ADDRESSES, Settings, State, Status};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::ReadyToken;
use landbridge_runtime::shutdown::Shutdown;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use super::mode::Mode;

/// How long a sidecar waits for its proof before it gives up. The rules were written before it started.
const SIDECAR_PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two attempts while nothing is proven.
const AGAIN: Duration = Duration::from_millis(500);

/// Deadline of one attempt. Everything it needs is on this machine.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How often a node proves that connections still arrive.
const EVERY: Duration = Duration::from_secs(30);

/// The open sockets, and what is needed around them.
pub(super) struct Interception {
    intercept: Intercept,
    listeners: Listeners,
    token: Token,
}

impl Interception {
    /// Opens the sockets, if the mode has any.
    ///
    /// # Errors
    /// A port is in use, or the process lacks NET_ADMIN (mode node).
    pub(super) fn open(mode: &Mode) -> Result<Option<Self>> {
        let (way, port) = match mode {
            Mode::Gateway { .. } => return Ok(None),
            Mode::Node { port } => (Way::Transparent { mark: OWN_MARK }, *port),
            Mode::Sidecar { port, .. } => (Way::Redirected, *port),
        };
        let token = Token::random();
        let intercept = Intercept {
            way,
            port,
            setting: "--intercept-port".to_owned(),
            proof_addresses: PROOF_ADDRESSES.to_vec(),
            proof_token: *token.bytes(),
            taken: watch::Sender::default(),
        };
        let listeners = Listeners::open(&intercept)?;
        Ok(Some(Self {
            intercept,
            listeners,
            token,
        }))
    }

    /// What the proxy works with, and what goes on beside it.
    pub(super) fn split(self) -> ((Intercept, Listeners), Beside) {
        let beside = Beside {
            taken: self.intercept.taken.subscribe(),
            is_node: self.intercept.way != Way::Redirected,
            port: self.listeners.port(),
            token: self.token,
        };
        ((self.intercept, self.listeners), beside)
    }
}

/// Rules and proof.
pub(super) struct Beside {
    taken: watch::Receiver<Arc<BTreeSet<SocketAddr>>>,
    is_node: bool,
    port: u16,
    token: Token,
}

impl Beside {
    /// Mode node: keeps the rules as long as the proxy runs. New connections are left to the gateways from the moment that
    /// `news` ends, and what is open goes on until `drained`. `back` waits for the end of it.
    pub(super) fn keep_rules(
        &self,
        metrics: &Metrics,
        news: Shutdown,
        drained: oneshot::Receiver<()>,
        back: &Shutdown,
    ) -> Option<watch::Receiver<Status>> {
        if !self.is_node {
            // Its init container has written them; it has no right to.
            return None;
        }
        let settings = Settings {
            port: self.port,
            ..Settings::node()
        };
        let keeper = Keeper::new(settings, metrics);
        let status = keeper.status();
        let taken = self.taken.clone();
        back.spawn(async move {
            let drained = async {
                let _ = drained.await;
            };
            keeper.run(taken, news, drained).await;
        });
        Some(status)
    }

    /// Proves that connections arrive, and then says that the proxy is ready.
    ///
    /// # Errors
    /// A sidecar that cannot prove it must not let its application start. A node goes on: its pods' calls go to the
    /// gateways meanwhile.
    pub(super) async fn prove(
        self,
        status: Option<watch::Receiver<Status>>,
        metrics: Metrics,
        ready: ReadyToken,
    ) -> Result<()> {
        let proven = Gauge::<i64>::default();
        metrics.register(|registry| {
            registry.register(
                "redirect_proven",
                "Whether a connection to an address that nobody has came back here",
                proven.clone(),
            );
        });
        match status {
            None => {
                once(&self.token).await?;
                proven.set(1);
                ready.ready();
                std::future::pending().await
            }
            Some(status) => again_and_again(&self.token, status, &proven, ready).await,
        }
    }
}

async fn once(token: &Token) -> Result<()> {
    let until = Instant::now() + SIDECAR_PATIENCE;
    loop {
        match proof::prove(token, ATTEMPT).await {
            Ok(_) => {
                tracing::info!("connections to destinations arrive here");
                return Ok(());
            }
            Err(error) if Instant::now() < until => {
                tracing::debug!(%error, "not proven yet");
                sleep(AGAIN).await;
            }
            Err(error) => {
                return Err(Error::new(error))
                    .context("connections to destinations do not arrive at this proxy");
            }
        }
    }
}

async fn again_and_again(
    token: &Token,
    mut status: watch::Receiver<Status>,
    proven: &Gauge<i64>,
    ready: ReadyToken,
) -> Result<()> {
    let mut ready = Some(ready);
    let mut told = false;
    loop {
        let state = status.borrow_and_update().state;
        let result = match state {
            State::Installed => Some(proof::prove(token, ATTEMPT).await),
            // Another process has the rules now, and proves what it does.
            _ => None,
        };
        let pause = match result {
            Some(Ok(_)) => {
                if proven.set(1) == 0 {
                    tracing::info!("connections to destinations arrive here");
                }
                told = false;
                if let Some(ready) = ready.take() {
                    ready.ready();
                }
                EVERY
            }
            Some(Err(error)) => {
                proven.set(0);
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(%error, "connections to destinations do not arrive here; they go to the gateways");
                }
                AGAIN
            }
            None => {
                proven.set(0);
                EVERY
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            changed = status.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
        }
    }
}
