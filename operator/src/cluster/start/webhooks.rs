//! The servers that the API server calls, and what is told of sidecars.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Starting;
use crate::admission;
use crate::certificates::Certificates;
use crate::cluster::webhook::{self, ClusterView, WebhookConfig};
use crate::cluster::{Error, Namespaces, injection};
use crate::injection::report;
use crate::injection::sighting::Sighting;
use crate::serve::server;

impl Starting<'_> {
    /// One server for every question of the API server, and an object for each kind of question.
    pub(super) fn webhooks(
        &self,
        listener: TcpListener,
        target: WebhookConfig,
        view: ClusterView,
        certificates: &Certificates,
    ) -> Result<(), Error> {
        let client = &self.environment.client;
        let mut router = admission::router(Arc::new(view));
        if let Some(config) = &self.config.injection {
            let metrics = (self.injections.clone(), self.metrics.clone());
            let (asked, watch) = injection::webhook(config, client, certificates.bundle.clone(), metrics);
            router = router.merge(asked);
            self.until_stopped(watch);
            let labelled = self.config.namespaces == Namespaces::Labelled;
            let registration =
                injection::registration(config, &self.config.namespace, labelled, target.target.clone());
            self.until_stopped(webhook::register(
                client.clone(),
                registration,
                certificates.bundle.clone(),
                self.leadership.clone(),
            ));
        }
        // The API server is the one caller, and shows no certificate: nothing can be proven, and little is to be had.
        let limits = server::Limits {
            unproven: None,
            ..server::Limits::default()
        };
        let tls = server::tls_for_webhook(certificates.current.clone())?;
        self.shutdown.spawn(server::serve(
            listener,
            tls,
            router,
            limits,
            self.shutdown.clone(),
        ));
        self.until_stopped(webhook::register(
            client.clone(),
            webhook::admission(self.config.namespace.clone(), target),
            certificates.bundle.clone(),
            self.leadership.clone(),
        ));
        Ok(())
    }

    /// People are told of sidecars also where none are put in any more: pods of before are still there.
    pub(super) fn reports(&self, sightings: mpsc::Receiver<Sighting>) {
        let parts = report::Parts {
            client: self.environment.client.clone(),
            recorder: self.recorder.clone(),
            metrics: self.injections.clone(),
            leadership: self.leadership.clone(),
            sightings,
        };
        self.until_stopped(report::run(self.config.unproven_pods, parts));
    }
}
