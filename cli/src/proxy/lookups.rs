//! Where destinations are looked up: in stores, with their credentials, or at a gateway, with a certificate of the operator.

use anyhow::Result;
use landbridge_destination::client::StoreClient;
use landbridge_proxy::certificate::{self, Certificate};
use landbridge_proxy::resolve::gateway::GatewaySettings;
use landbridge_proxy::stores::Stores;
use landbridge_proxy::{Answering, Destinations};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client::{self, HttpClient};
use landbridge_runtime::listener;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::Readiness;

use super::mode::Mode;
use super::reach;
use super::settings::Settings;
use super::{Parts, Stages};

/// What the mode has of both.
pub(super) struct Lookups {
    /// Clients of the destination service instances, and what they call with; none in sidecars.
    pub stores: Option<(Stores, HttpClient)>,
    destinations: Destinations,
    answering: Option<Answering>,
}

impl Lookups {
    /// Makes them. Whatever the proxy cannot do without is waited for by `readiness`.
    ///
    /// # Errors
    /// A port is in use, or a client cannot be made.
    pub(super) async fn start(
        settings: &Settings,
        metrics: &Metrics,
        readiness: &Readiness,
        stages: &Stages,
        parts: &mut Parts,
    ) -> Result<Self> {
        match &settings.mode {
            Mode::Gateway { resolve } => {
                let answering = match resolve {
                    None => None,
                    Some(address) => Some(Answering {
                        listener: listener::bind(*address, "--resolve-listen").await?,
                        // Without a certificate no sidecar is answered, but applications are served all the same.
                        certificate: certified(settings, metrics, &Readiness::new(), stages, parts)?,
                    }),
                };
                Self::of_stores(settings, readiness, answering)
            }
            Mode::Node { .. } => Self::of_stores(settings, readiness, None),
            Mode::Sidecar {
                gateway: (host, port),
                ..
            } => Ok(Self {
                stores: None,
                destinations: Destinations::Gateway(GatewaySettings {
                    host: host.clone(),
                    port: *port,
                    certificate: certified(settings, metrics, readiness, stages, parts)?,
                }),
                answering: None,
            }),
        }
    }

    fn of_stores(settings: &Settings, readiness: &Readiness, answering: Option<Answering>) -> Result<Self> {
        let (stores, http) = connect(settings)?;
        let names = settings.instances.iter().map(|instance| instance.name.clone());
        let reached = readiness.token("destination services");
        tokio::spawn(reach::all(stores.clone(), names.collect(), reached));
        Ok(Self {
            destinations: Destinations::Stores(stores.clone()),
            stores: Some((stores, http)),
            answering,
        })
    }

    /// What the data path takes.
    pub(super) fn into_sources(self) -> (Destinations, Option<Answering>) {
        (self.destinations, self.answering)
    }
}

/// A certificate of the operator, renewed as long as the proxy runs.
fn certified(
    settings: &Settings,
    metrics: &Metrics,
    readiness: &Readiness,
    stages: &Stages,
    parts: &mut Parts,
) -> Result<Certificate> {
    let (certificate, renewal) = certificate::certificate(&settings.control, metrics)?;
    let (token, shutdown) = (readiness.token("certificate"), stages.back.child());
    let renewing = tokio::spawn(async move {
        renewal.run(token, shutdown).await;
        Ok::<_, anyhow::Error>(())
    });
    parts.watch("the renewal of the certificate", renewing);
    Ok(certificate)
}

/// Clients of the destination service instances.
fn connect(settings: &Settings) -> Result<(Stores, HttpClient)> {
    // Stores are where their bindings say: any address is right here.
    let http = http_client::standard_within(
        Dialer::new(AddressPolicy::Any)?,
        &settings.roots,
        settings.store_deadlines,
    )?;
    let clients = settings.instances.iter().map(|instance| {
        let client = StoreClient::new(instance.binding.clone(), http.clone());
        (instance.name.clone(), client)
    });
    let stores = Stores::new(settings.default_instance.clone(), clients.collect())?;
    Ok((stores, http))
}
