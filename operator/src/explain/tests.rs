use super::*;
use crate::cluster::children::{Family, ProxyEndpoint, Wanted};
use landbridge_destination::DestinationSelector;

const NOW: &str = "2026-01-01T00:00:00Z";

struct OneStore(Result<Answer, Failure>);

impl Lookups for OneStore {
    async fn find(&self, _: DestinationSelector, _: Option<String>) -> Result<Answer, Failure> {
        self.0.clone()
    }
}

fn declared(spec: &str) -> Declared {
    let text = format!(
        "apiVersion: destination.connectivity.api.sap/v1\nkind: Destination\nmetadata: {{name: erp, namespace: shop, generation: 1}}\nspec: {spec}\n"
    );
    let parsed = crate::manifest::parse("erp.yaml", text.as_bytes());
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.destinations.into_iter().next().unwrap()
}

fn found(config: &str) -> OneStore {
    OneStore(Ok(Answer::Found {
        config: serde_json::from_str(config).unwrap(),
        etag: None,
    }))
}

#[tokio::test]
async fn a_manifest_is_explained_without_a_cluster() {
    let options = PlanOptions::default();
    let store = found(
        r#"{"Name":"erp","Type":"HTTP","URL":"https://user:hush@erp.example.com/api?k=v","ProxyType":"OnPremise",
            "Authentication":"BasicAuthentication","CloudConnectorLocationId":"plant"}"#,
    );
    let said = manifest(
        &declared("{destinationRef: {name: erp}}"),
        Some(&store),
        options,
        NOW,
    )
    .await;
    assert_eq!(said.problems, Vec::<String>::new());
    assert_eq!(said.address.as_deref(), Some("http://erp.shop"));
    assert_eq!(said.callers, "workloads of the namespace shop");
    let resolved = said.resolved.unwrap();
    assert_eq!(
        resolved.target, "https://erp.example.com/api",
        "no password, no query"
    );
    assert_eq!(
        resolved.kind,
        "HTTP, OnPremise, BasicAuthentication, location plant"
    );

    let store = found(r#"{"Name":"erp","Type":"MAIL"}"#);
    let said = manifest(
        &declared("{destinationRef: {name: erp}}"),
        Some(&store),
        options,
        NOW,
    )
    .await;
    assert_eq!(said.address, None);
    assert!(
        said.problems[0].contains("set it to HTTP or TCP"),
        "{:?}",
        said.problems
    );
    assert_eq!(said.problems.len(), 1, "each cause once");

    let missing = OneStore(Ok(Answer::NotFound("create it".into())));
    let said = manifest(
        &declared("{destinationRef: {name: erp}}"),
        Some(&missing),
        options,
        NOW,
    )
    .await;
    assert!(said.problems[0].contains("create it"), "{:?}", said.problems);

    let nobody: Option<&OneStore> = None;
    let said = manifest(
        &declared("{destinationRef: {name: '*'}, fragmentRef: {name: f}}"),
        nobody,
        options,
        NOW,
    )
    .await;
    assert!(
        said.problems[0].contains("X-Fragment-Name"),
        "{:?}",
        said.problems
    );
}

#[test]
fn a_resource_is_explained_by_its_children() {
    let key = RouteKey::new("shop", "erp");
    let mut resource =
        declared("{destinationRef: {name: erp}, accessControl: {scope: clusterWide}}").resource;
    resource.metadata.generation = Some(1);
    let wanted = Wanted {
        installation: "landbridge-system".into(),
        key: key.clone(),
        uid: "u".into(),
        protocol: RouteProtocol::Tcp,
        service_port: None,
        proxy_port: 10_001,
    };
    let endpoint = ProxyEndpoint {
        address: [10, 0, 0, 1].into(),
        ready: false,
        terminating: false,
        node: Some("n1".into()),
        namespace: "system".into(),
        pod: "proxy-0".into(),
        uid: "p".into(),
    };
    let service = wanted.service();
    let options = PlanOptions::default();
    let explain = |resource: &Destination, ready: bool, service: &Service| {
        let slice = wanted.slice(
            Family::V4,
            &[ProxyEndpoint {
                ready,
                ..endpoint.clone()
            }],
        );
        live(&key, resource, Some(service), &[slice], &Lookup::Pending, options)
    };
    let said = explain(&resource, true, &service);
    assert!(
        said.problems[0].contains("no operator has looked at it"),
        "{:?}",
        said.problems
    );
    let condition = |generation: i64| Condition {
        type_: types::AVAILABLE.into(),
        status: status::TRUE.into(),
        reason: "ConfigurationSuccessful".into(),
        message: String::new(),
        last_update_time: None,
        last_transition_time: None,
        observed_generation: Some(generation),
    };
    let mut with = |generation: i64| {
        resource.status = Some(DestinationStatus {
            conditions: vec![condition(generation)],
            ..DestinationStatus::default()
        });
        resource.clone()
    };
    let said = explain(&with(0), true, &service);
    assert!(
        said.problems[0].contains("older generation"),
        "{:?}",
        said.problems
    );
    let said = explain(&with(1), false, &service);
    assert!(said.problems[0].contains("no proxy"), "{:?}", said.problems);
    let said = explain(&with(1), true, &service);
    assert_eq!(said.problems, Vec::<String>::new());
    assert_eq!(said.address.as_deref(), Some("erp.shop:20004"));
    assert_eq!(said.callers, "every workload of the cluster");
    assert_eq!(
        (said.proxies[0].pod.as_str(), said.proxies[0].address.as_str()),
        ("system/proxy-0", "10.0.0.1:10001")
    );
    let mut foreign = service;
    foreign.metadata.labels = None;
    let said = explain(&with(1), true, &foreign);
    assert!(said.proxies.is_empty() && said.address.is_none() && !said.service.unwrap().ours);
}
