//! Pages of the pods' admin endpoints, through the API server: nothing has to be forwarded, and nobody has to be in the
//! cluster.

use futures_util::{StreamExt as _, stream};
use kube::client::Body;
use serde_json::Value;

use super::super::facts::{Read, StatusFact};
use super::super::reader::Reader;
use super::super::{Options, Trouble};
use super::AT_ONCE;
use super::installation::SeenPod;

/// Pods that are asked; with more, the others will be alike.
const ASKED: usize = 50;

/// Metric with the version of a process.
const BUILD: &str = "landbridge_build_info{";

fn path(options: &Options, pod: &SeenPod, page: &str) -> String {
    let (namespace, name) = (&options.namespace, &pod.fact.name);
    format!(
        "/api/v1/namespaces/{namespace}/pods/{name}:{}/proxy{page}",
        pod.port
    )
}

/// A page as JSON.
pub(super) async fn json(reader: &Reader, options: &Options, pod: &SeenPod, page: &str) -> Read<Value> {
    let bytes = reader.page(&path(options, pod, page)).await?;
    serde_json::from_slice(&bytes).map_err(|error| Trouble::NoAnswer(format!("{page} is no JSON: {error}")))
}

/// Asks those pods that are ready for their versions, and the others for what they wait for.
pub(super) async fn versions(reader: &Reader, options: &Options, pods: &mut Read<Vec<SeenPod>>) {
    let Ok(pods) = pods else { return };
    let asked = stream::iter(pods.iter_mut().take(ASKED)).map(async |pod| {
        if pod.fact.ready {
            pod.fact.version = version(reader, options, pod).await;
        } else if pod.fact.waiting.is_none() {
            pod.fact.pending = pending(reader, options, pod).await;
        }
    });
    asked.buffer_unordered(AT_ONCE).collect::<()>().await;
}

async fn version(reader: &Reader, options: &Options, pod: &SeenPod) -> Read<String> {
    let bytes = reader.page(&path(options, pod, "/metrics")).await?;
    let text = String::from_utf8_lossy(&bytes);
    version_in(&text).ok_or_else(|| Trouble::NoAnswer("its metrics name no version".to_owned()))
}

fn version_in(metrics: &str) -> Option<String> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(BUILD))?;
    let version = line.split("version=\"").nth(1)?.split('"').next()?;
    Some(version.to_owned())
}

async fn pending(reader: &Reader, options: &Options, pod: &SeenPod) -> Option<String> {
    let request = http::Request::get(path(options, pod, "/readyz"))
        .body(Body::empty())
        .ok()?;
    let (_, body) = reader.exchange(request).await.ok()?;
    let text = String::from_utf8_lossy(&body);
    text.starts_with("waiting for").then(|| text.trim().to_owned())
}

/// What the leading replica says of the whole, with what the others say of their certificates.
pub(super) async fn status(reader: &Reader, options: &Options, pods: &[SeenPod]) -> Read<StatusFact> {
    let asked = stream::iter(pods.iter().take(ASKED)).map(async |pod| {
        let page = json(reader, options, pod, "/status").await;
        (pod.fact.name.clone(), page)
    });
    let pages: Vec<_> = asked.buffered(AT_ONCE).collect().await;
    of_pages(pages)
}

fn of_pages(pages: Vec<(String, Read<Value>)>) -> Read<StatusFact> {
    let mut trouble = Trouble::NoAnswer("there is no pod of the operator".to_owned());
    let (mut whole, mut others) = (None, Vec::new());
    for (pod, page) in pages {
        match page {
            Err(error) => trouble = error,
            Ok(page) => {
                let fact = of_page(&page);
                let certificates = fact.components.iter().find(|(name, _)| name == "certificates");
                let problem = certificates.map(|(_, problem)| problem.clone());
                if page["Leading"] == true || whole.is_none() {
                    whole = Some(fact);
                }
                others.extend(
                    problem
                        .filter(|problem| !problem.is_empty())
                        .map(|problem| (pod, problem)),
                );
            }
        }
    }
    let mut whole = whole.ok_or(trouble)?;
    let mine = whole
        .components
        .iter_mut()
        .find(|(name, _)| name == "certificates");
    if let (Some((_, problem)), Some((pod, other))) = (mine, others.into_iter().next())
        && problem.is_empty()
    {
        *problem = format!("{pod}: {other}");
    }
    Ok(whole)
}

fn of_page(page: &Value) -> StatusFact {
    let components = page["Components"].as_object().into_iter().flatten();
    let proxies = &page["Proxies"];
    StatusFact {
        components: components
            .map(|(name, part)| {
                let message = part["Message"].as_str().unwrap_or_default();
                let problem = if part["Status"] == "ok" { "" } else { message };
                (name.clone(), problem.to_owned())
            })
            .collect(),
        ready: proxies["Ready"].as_u64().unwrap_or(0),
        reporting: proxies["Reporting"].as_u64().unwrap_or(0),
    }
}

/// Connections of connectors, by pod.
pub(super) async fn connectors(
    reader: &Reader,
    options: &Options,
    proxies: &Read<Vec<SeenPod>>,
) -> Vec<(String, Read<usize>)> {
    let pods = proxies
        .iter()
        .flatten()
        .filter(|pod| pod.fact.connectivity && !pod.fact.ending);
    let asked = stream::iter(pods.take(ASKED)).map(async |pod| {
        let page = json(reader, options, pod, "/tunnels").await;
        let count = page.map(|page| page["sessions"].as_array().map_or(0, Vec::len));
        (pod.fact.name.clone(), count)
    });
    asked.buffered(AT_ONCE).collect().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_version_is_in_the_metrics() {
        let text = "# TYPE landbridge_build info\nlandbridge_build_info{version=\"0.1.0\"} 1\n# EOF\n";
        assert_eq!(version_in(text).as_deref(), Some("0.1.0"));
        assert_eq!(version_in("# EOF\n"), None);
    }

    #[test]
    fn the_leading_replica_speaks_and_the_others_of_their_certificates() {
        let page = |leading: bool, certificates: &str| {
            let status = if certificates.is_empty() { "ok" } else { "warning" };
            Ok(
                json!({"Leading": leading, "Proxies": {"Ready": 2, "Reporting": if leading { 2 } else { 0 }},
                "Components": {"certificates": {"Status": status, "Message": certificates}}}),
            )
        };
        let away = || Err(Trouble::Answer(503, "no route".into()));
        let of = |pages: Vec<Read<Value>>| {
            let named = pages
                .into_iter()
                .zip(["a", "b"])
                .map(|(page, name)| (name.to_owned(), page));
            of_pages(named.collect())
        };
        assert_eq!(of(vec![page(false, ""), page(true, "")]).unwrap().reporting, 2);
        assert_eq!(of(vec![page(true, ""), page(false, "")]).unwrap().reporting, 2);
        let other = of(vec![page(true, ""), page(false, "no file")]).unwrap();
        assert_eq!(other.components[0].1, "b: no file");
        assert_eq!(of(vec![away(), page(true, "")]).unwrap().reporting, 2);
        assert_eq!(
            of(vec![away(), away()]),
            Err(Trouble::Answer(503, "no route".into()))
        );
        assert!(of(vec![]).is_err());
    }
}
