//! How things stand, for people, scripts and dashboards: `/status` and `/destinationCRs` as published (seed L36786, L37280),
//! `/config` with everything that is set and nothing that is secret.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use landbridge_destination::RouteProtocol;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::controller::Question;
use super::model::DestinationRow;
use super::start::Operator;
use super::stores::Stores;
use crate::certificates::CertificateHealth;
use crate::serve::Leadership;
use crate::serve::reports::Board;
use crate::workloads::Index;

/// Longest time to collect an answer.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Health {
    questions: mpsc::Sender<Question>,
    leadership: watch::Receiver<Leadership>,
    stores: Arc<Stores>,
    index: Arc<Index>,
    board: Arc<Board>,
    certificates: watch::Receiver<CertificateHealth>,
    config: Value,
}

/// How one component or all of them are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Some of it does not work.
    Warning,
    /// It does not work.
    Critical,
}

/// How a component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Component {
    /// Grade.
    pub status: Grade,
    /// What is wrong; empty if nothing is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Component {
    fn of(problem: Option<String>, grade: Grade) -> Self {
        Self {
            status: if problem.is_some() { grade } else { Grade::Ok },
            message: problem.unwrap_or_default(),
        }
    }
}

/// The pages, for the admin endpoint. `config` is what `/config` shows.
pub fn router(operator: &Operator, config: Value) -> Router {
    let health = Health {
        questions: operator.questions.clone(),
        leadership: operator.leadership.clone(),
        stores: Arc::clone(&operator.stores),
        index: Arc::clone(&operator.index),
        board: Arc::clone(&operator.board),
        certificates: operator.certificates.health.clone(),
        config,
    };
    Router::new()
        .route("/status", get(status))
        .route("/destinationCRs", get(destinations))
        .route(
            "/config",
            get(async |State(health): State<Health>| Json(health.config)),
        )
        .with_state(health)
}

impl Health {
    async fn rows(&self) -> Option<Vec<DestinationRow>> {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.questions.send(sender).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(DEADLINE, asked).await.ok().flatten()
    }
}

async fn status(State(health): State<Health>) -> Response {
    let rows = health.rows().await;
    let proxies = health.index.proxies();
    let ready = proxies.iter().filter(|pod| pod.ready && !pod.terminating).count();
    let proxy = |protocol: RouteProtocol| {
        let used = rows
            .as_ref()
            .is_some_and(|rows| rows.iter().any(|row| row.protocol == Some(protocol)));
        used.then(|| proxy_component(ready, proxies.len()))
    };
    let stores = health.stores.problems();
    let mut components: Vec<(String, Component)> = Vec::new();
    components.extend(proxy(RouteProtocol::Http).map(|part| ("sap-transp-proxy-http".to_owned(), part)));
    components.extend(proxy(RouteProtocol::Tcp).map(|part| ("sap-transp-proxy-tcp".to_owned(), part)));
    let stuck = rows
        .is_none()
        .then(|| "the controller does not answer: see the log of the operator".to_owned());
    components.push((
        "sap-transp-proxy-manager".to_owned(),
        Component::of(stuck, Grade::Critical),
    ));
    let problem = health.certificates.borrow().problem.clone();
    components.push(("certificates".to_owned(), Component::of(problem, Grade::Warning)));
    for (name, problem) in stores {
        components.push((
            format!("destination-service/{name}"),
            Component::of(problem, Grade::Critical),
        ));
    }
    let overall = overall(components.iter().map(|(_, component)| component.status));
    let leading = *health.leadership.borrow() == Leadership::Leading;
    let reporting = health.board.read(|reports| reports.pods().count());
    Json(json!({
        "Status": overall,
        "Components": components.into_iter().map(|(name, part)| (name, json!(part))).collect::<serde_json::Map<_, _>>(),
        "Leading": leading,
        "Proxies": { "Pods": proxies.len(), "Ready": ready, "Reporting": reporting },
    }))
    .into_response()
}

fn proxy_component(ready: usize, pods: usize) -> Component {
    let problem = (ready < pods || pods == 0).then(|| format!("{ready} of {pods} proxy pods are ready"));
    let grade = if ready == 0 {
        Grade::Critical
    } else {
        Grade::Warning
    };
    Component::of(problem, grade)
}

/// All critical is critical, any trouble is a warning (seed L36800).
pub fn overall(parts: impl Iterator<Item = Grade> + Clone) -> Grade {
    if parts.clone().all(|grade| grade == Grade::Ok) {
        Grade::Ok
    } else if parts.clone().all(|grade| grade == Grade::Critical) {
        Grade::Critical
    } else {
        Grade::Warning
    }
}

async fn destinations(State(health): State<Health>) -> Response {
    let Some(rows) = health.rows().await else {
        let message = "the controller does not answer: see the log of the operator\n";
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    Json(view(&rows)).into_response()
}

/// The published view of all destinations, with their namespace.
pub fn view(rows: &[DestinationRow]) -> Value {
    let grade = |row: &DestinationRow| {
        if row.available == "True" {
            Grade::Ok
        } else {
            Grade::Critical
        }
    };
    let resources: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "Name": row.key.name,
                "Namespace": row.key.namespace,
                "DestinationRef": { "name": row.destination },
                "CreationTimestamp": row.created,
                "Available": row.available,
                "Message": row.message,
                "Reason": row.reason,
            })
        })
        .collect();
    json!({ "Status": overall(rows.iter().map(grade)), "CustomResources": resources })
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_destination::RouteKey;

    #[test]
    fn grades_add_up_as_published() {
        use Grade::{Critical, Ok, Warning};
        for (parts, sum) in [
            (vec![], Ok),
            (vec![Ok, Ok], Ok),
            (vec![Ok, Critical], Warning),
            (vec![Warning], Warning),
            (vec![Critical, Critical], Critical),
        ] {
            assert_eq!(overall(parts.iter().copied()), sum, "{parts:?}");
        }
        assert_eq!(proxy_component(2, 2).status, Ok);
        assert_eq!(proxy_component(1, 2).status, Warning);
        assert_eq!(proxy_component(0, 0).status, Critical);
    }

    #[test]
    fn destinations_are_shown_as_published() {
        let row = DestinationRow {
            key: RouteKey::new("shop", "httpexample"),
            destination: "httpdestination".into(),
            created: Some("2022-08-26T11:05:30Z".into()),
            available: "True".into(),
            message: "workloads reach it at http://httpexample.shop".into(),
            reason: "ConfigurationSuccessful".into(),
            protocol: Some(RouteProtocol::Http),
            port: Some(10_000),
        };
        let view = view(&[row]);
        assert_eq!(view["Status"], "ok");
        let resource = &view["CustomResources"][0];
        assert_eq!(resource["DestinationRef"]["name"], "httpdestination");
        assert_eq!(resource["CreationTimestamp"], "2022-08-26T11:05:30Z");
    }
}
