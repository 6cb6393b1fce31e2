//! Everything that people may get wrong (seed L36866-37080 and the reasons added since): what is said of it, and whether
//! there is a Service.

use landbridge_destination::error::StoreError;
use landbridge_tests::eventually;
use landbridge_tests::operator::{ForeignStore, Installation, Workspace, put};
use serde_json::{Value, json};

const TENANTS: &str = "transparent-proxy.connectivity.api.sap/tenant-subdomains";

/// One mistake.
struct Case {
    /// Name of the resource, and of the destination unless `spec` says another.
    name: &'static str,
    /// In the store; null for nothing.
    destination: Value,
    /// Beside `destinationRef`.
    spec: Value,
    annotations: Value,
    /// End of the reason of `Available`, which is false.
    reason: &'static str,
    /// What the message must say.
    says: &'static str,
    /// Whether it is served all the same: callers then hear what is missing, and the first call after that was repaired
    /// succeeds.
    served: bool,
}

impl Case {
    /// A destination with these properties; `Type` HTTP and `ProxyType` Internet unless they say something else.
    fn stored(name: &'static str, properties: Value, reason: &'static str, says: &'static str) -> Self {
        let mut destination = json!({"Name": name, "Type": "HTTP", "ProxyType": "Internet"});
        merge(&mut destination, properties);
        Self {
            name,
            destination,
            spec: json!({}),
            annotations: json!({}),
            reason,
            says,
            served: false,
        }
    }

    fn served(self) -> Self {
        Self { served: true, ..self }
    }

    /// A good destination, and a resource that is not.
    fn declared(name: &'static str, spec: Value, reason: &'static str, says: &'static str) -> Self {
        let good = json!({"URL": "https://api.example.com"});
        Self {
            spec,
            ..Self::stored(name, good, reason, says)
        }
    }

    fn annotated(name: &'static str, value: &str, reason: &'static str, says: &'static str) -> Self {
        let annotations = json!({TENANTS: value});
        Self {
            annotations,
            ..Self::declared(name, json!({}), reason, says)
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else {
        panic!("two objects");
    };
    for (key, value) in from {
        if value.is_null() {
            into.remove(&key);
        } else {
            into.insert(key, value);
        }
    }
}

fn cases() -> Vec<Case> {
    let https = "https://api.example.com";
    let on_premise_tcp =
        |name: &str, value: &str| json!({"Type": "TCP", "ProxyType": "OnPremise", name: value});
    let secure = |name: &str, value: &str| json!({"URL": https, name: value});
    let plain = |name: &str, value: &str| json!({"URL": "http://api.example.com", name: value});
    vec![
        Case {
            destination: Value::Null,
            ..Case::stored("missing", json!({}), "ReferencedDestination-NotFound", "missing").served()
        },
        Case::stored(
            "rfc",
            json!({"Type": "RFC"}),
            "TypeNotSupported",
            "RFC: set it to HTTP or TCP",
        ),
        Case::stored(
            "mail",
            json!({"Type": "MAIL"}),
            "TypeNotSupported",
            "MAIL: set it to",
        ),
        Case::stored(
            "ldap",
            json!({"Type": "LDAP", "ldap.url": "ldap://a"}),
            "TypeNotSupported",
            "LDAP: set it to",
        ),
        Case::stored(
            "private-link",
            json!({"URL": https, "ProxyType": "PrivateLink"}),
            "ReferencedDestination-ProxyTypeNotSupported",
            "PrivateLink: set it to Internet or OnPremise",
        ),
        Case::stored("no-url", json!({"URL": null}), "UrlNotSupported", "is empty"),
        Case::stored(
            "ftp",
            json!({"URL": "ftp://files.example.com"}),
            "UrlNotSupported",
            "begins with ftp://",
        ),
        Case::stored(
            "no-scheme",
            json!({"URL": "api.example.com"}),
            "UrlNotSupported",
            "cannot be read",
        ),
        Case::stored(
            "tcp-http",
            on_premise_tcp("URL", "http://db.corp:1"),
            "UrlNotSupported",
            "tcp://host:port",
        ),
        Case::stored(
            "tcp-no-port",
            on_premise_tcp("Address", "db.corp"),
            "TcpAddressNotSupported",
            "Address",
        ),
        Case::stored(
            "tcp-nothing",
            on_premise_tcp("Description", "x"),
            "TcpAddressNotSupported",
            "Address",
        ),
        Case::stored(
            "loopback",
            json!({"URL": "http://localhost:8080"}),
            "LoopbackUrlNotSupported",
            "own machine",
        ),
        Case::stored(
            "loopback-address",
            json!({"URL": "https://[::ffff:127.0.0.1]"}),
            "LoopbackUrlNotSupported",
            "name",
        ),
        Case::stored(
            "key-store",
            secure("KeyStoreLocation", "key.jks"),
            "KeyStoreInvalid",
            "key.jks",
        ),
        Case::stored(
            "trust-store",
            secure("TrustStoreLocation", "roots.jks"),
            "TrustStoreInvalid",
            "p12, pfx, pem",
        ),
        Case::stored(
            "plain-key-store",
            plain("KeyStoreLocation", "key.p12"),
            "HttpUrlWithTrustStoreOrKeyStoreNotSupported",
            "make it https://, or remove KeyStoreLocation",
        ),
        Case::stored(
            "plain-trust-store",
            plain("TrustStoreLocation", "roots.pem"),
            "HttpUrlWithTrustStoreOrKeyStoreNotSupported",
            "remove TrustStoreLocation",
        ),
        Case::declared(
            "gateway",
            json!({"destinationRef": {"name": "*"}, "fragmentRef": {"name": "eu"}}),
            "FragmentSpecification-NotSupported",
            "X-Fragment-Name",
        ),
        Case::declared(
            "fragment-level",
            json!({"fragmentRef": {"name": "eu", "level": "instance"}}),
            "FragmentSpecification-NotSupported",
            "set destinationRef.level",
        ),
        Case::declared(
            "fragment-missing",
            json!({"fragmentRef": {"name": "nowhere"}}),
            "ReferencedFragment-NotFound",
            "no fragment \"nowhere\": create it there",
        )
        .served(),
        Case::declared(
            "instance",
            json!({"destinationServiceInstanceName": "elsewhere"}),
            "ConfigurationFailed",
            "\"elsewhere\" is no configured instance (known: default, foreign)",
        )
        .served(),
        Case::declared(
            "erp.eu",
            json!({}),
            "ServiceCreationFailed",
            "cannot be the name of a Service",
        ),
        Case::annotated(
            "tenants",
            "[\"a\"]",
            "ProxyTenantModeMismatch",
            "remove the annotation",
        ),
        Case::annotated(
            "tenant-text",
            "a,b",
            "MultitenancyAnnotation-Invalid",
            "JSON list of strings",
        ),
    ]
}

async fn check(workspace: &Workspace, case: &Case) {
    let available = workspace.until(case.name, "False", case.reason).await;
    assert!(
        available.message.contains(case.says),
        "{}: {available:?}",
        case.name
    );
    let service = workspace.service(case.name).await;
    assert_eq!(service.is_some(), case.served, "{}", case.name);
    let destination = workspace
        .destinations
        .get(case.name)
        .await
        .expect("it is declared");
    let status = destination.status.expect("a status");
    assert_eq!(status.proxy_port.is_some(), case.served, "{}", case.name);
    let generation = destination.metadata.generation;
    for condition in &status.conditions {
        assert_eq!(condition.observed_generation, generation, "{}", case.name);
    }
}

/// Puts the destinations into the store. It refuses some of them itself, which other stores do not: these go into
/// `foreign`. Returns their names.
async fn fill(installation: &Installation, foreign: &ForeignStore, cases: &[Case]) -> Vec<&'static str> {
    let client = installation.store.client().await;
    let mut refused = Vec::new();
    for case in cases.iter().filter(|case| !case.destination.is_null()) {
        let stored = put(&client, &case.destination).await;
        match stored {
            Ok(()) if case.name != "fragment-missing" => {}
            // Nor does it know fragments.
            Ok(()) | Err(StoreError::BadRequest { .. }) => {
                foreign.put(&case.destination);
                refused.push(case.name);
            }
            Err(error) => panic!("{}: {error}", case.name),
        }
    }
    refused
}

#[tokio::test]
async fn every_mistake_has_its_reason_and_its_remedy() {
    let installation = Installation::new("table").await;
    let (cases, foreign) = (cases(), ForeignStore::start().await);
    let elsewhere = fill(&installation, &foreign, &cases).await;
    assert!(
        !elsewhere.is_empty() && elsewhere.len() < cases.len(),
        "{elsewhere:?}"
    );
    std::fs::write(installation.path("foreign.json"), foreign.key()).expect("written");
    let instance = format!("foreign={}", installation.path("foreign.json").display());
    let operator = installation
        .operator("operator", &["--destination-service", &instance])
        .await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("table").await;
    for case in &cases {
        let mut spec = json!({"destinationRef": {"name": case.name}});
        if elsewhere.contains(&case.name) {
            spec["destinationServiceInstanceName"] = "foreign".into();
        }
        merge(&mut spec, case.spec.clone());
        workspace
            .declare_with(case.name, spec, case.annotations.clone())
            .await;
    }
    for case in &cases {
        check(&workspace, case).await;
    }
    let served = cases.iter().filter(|case| case.served).count();
    assert_eq!(proxy.routes().len(), served, "nothing else is for the proxies");

    // What is wrong in the store is repaired in the store, and works from then on.
    let wrong_in_store = |case: &&Case| {
        let fine = case.destination["URL"] == "https://api.example.com" && case.reason != "KeyStoreInvalid";
        !elsewhere.contains(&case.name) && !fine
    };
    let repaired: Vec<_> = cases
        .iter()
        .filter(wrong_in_store)
        .map(|case| case.name)
        .collect();
    assert!(
        repaired.contains(&"rfc") && repaired.contains(&"missing"),
        "{repaired:?}"
    );
    let good = |name: &&str| json!({"Name": name, "Type": "HTTP", "ProxyType": "Internet", "URL": "https://a.example.com"});
    installation
        .store
        .put(&repaired.iter().map(good).collect::<Vec<_>>())
        .await;
    for name in &repaired {
        workspace.until_usable(name).await;
        assert!(workspace.service(name).await.is_some(), "{name}");
    }
    // A condition is told once for each change of it.
    let told = eventually("both Events are there", async || {
        let told = workspace.told("rfc").await;
        if told.len() < 2 {
            Err(format!("{told:?}"))
        } else {
            Ok(told)
        }
    })
    .await;
    assert!(
        told[0].ends_with("TypeNotSupported") && told[1] == "ConfigurationSuccessful",
        "{told:?}"
    );
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test]
async fn a_service_of_somebody_else_is_in_the_way_until_it_is_gone() {
    let installation = Installation::new("foreign").await;
    let https =
        json!({"Name": "erp", "Type": "HTTP", "ProxyType": "Internet", "URL": "https://erp.example.com"});
    installation.store.put(&[https]).await;
    let operator = installation.operator("operator", &[]).await;
    let _proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("foreign").await;
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "erp"},
        "spec": {"selector": {"app": "erp"}, "ports": [{"port": 8080}]}});
    workspace.namespace.apply(&theirs.to_string()).await.success();
    let before = workspace.service("erp").await.expect("theirs");
    workspace.declare_named("erp").await;
    let said = workspace
        .until("erp", "False", "K8sResourceWithNameAlreadyPresent")
        .await;
    assert!(
        said.message
            .contains("rename this Destination, or delete that Service"),
        "{said:?}"
    );
    let after = workspace.service("erp").await.expect("theirs");
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    assert_eq!(
        workspace.endpoints("erp").await,
        [],
        "not behind their Service either"
    );

    workspace
        .namespace
        .kubectl(&["delete", "service", "erp"])
        .await
        .success();
    workspace.until_usable("erp").await;

    // The other way around: theirs comes while ours is there. The API server gives the name to one of them only.
    let refused = workspace
        .namespace
        .kubectl(&["create", "service", "clusterip", "erp", "--tcp=80"])
        .await;
    assert!(refused.failure().contains("already exists"));
    workspace.until_usable("erp").await;
}
