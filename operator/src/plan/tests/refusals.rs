//! What is refused, and with which reason.

use landbridge_crds::actions::{Action, ActionName, SecretRef};

use super::*;

/// The table of the seed's troubleshooting chapter (L36925-37040) and the reasons added since.
#[test]
fn unsupported_destinations_have_the_published_reason() {
    let on_premise = |properties: &[(&str, &str)]| {
        let mut config = config(&[
            ("Type", "HTTP"),
            ("ProxyType", "OnPremise"),
            ("URL", "http://localhost:8080"),
        ]);
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config
    };
    let with = |url: &str, name: &str, value: &str| {
        let mut config = http(url);
        config.set(name, value);
        config
    };
    let tcp = |name: &str, value: &str| config(&[("Type", "TCP"), ("ProxyType", "OnPremise"), (name, value)]);
    let https = "https://api.example.com";
    let cases: Vec<(DestinationConfig, &str)> = vec![
        (config(&[("Type", "RFC")]), "TypeNotSupported"),
        (config(&[("Type", "MAIL")]), "TypeNotSupported"),
        (
            config(&[("Type", "LDAP"), ("ldap.url", "ldap://a")]),
            "TypeNotSupported",
        ),
        (config(&[("URL", https)]), "TypeNotSupported"),
        (with(https, "ProxyType", "PrivateLink"), "ProxyTypeNotSupported"),
        (with(https, "ProxyType", "Elsewhere"), "ProxyTypeNotSupported"),
        (
            config(&[("Type", "HTTP"), ("ProxyType", "Internet")]),
            "UrlNotSupported",
        ),
        (http("  "), "UrlNotSupported"),
        (http("ftp://a"), "UrlNotSupported"),
        (http("api.example.com"), "UrlNotSupported"),
        (http("https://"), "UrlNotSupported"),
        (http("http://localhost:8080/x"), "LoopbackUrlNotSupported"),
        (http("https://LOCALHOST./"), "LoopbackUrlNotSupported"),
        (http("https://api.localhost"), "LoopbackUrlNotSupported"),
        (http("http://127.0.0.1"), "LoopbackUrlNotSupported"),
        (http("http://0x7f.1/"), "LoopbackUrlNotSupported"),
        (http("http://[::1]:80"), "LoopbackUrlNotSupported"),
        (http("http://[::ffff:127.0.0.1]"), "LoopbackUrlNotSupported"),
        (http("http://0.0.0.0"), "LoopbackUrlNotSupported"),
        (with(https, "KeyStoreLocation", "key.jks"), "KeyStoreInvalid"),
        (with(https, "TrustStoreLocation", "roots"), "TrustStoreInvalid"),
        (
            with("http://a", "KeyStoreLocation", "key.p12"),
            "HttpUrlWithTrustStoreOrKeyStoreNotSupported",
        ),
        (
            with("http://a", "TrustStoreLocation", "a.pem"),
            "HttpUrlWithTrustStoreOrKeyStoreNotSupported",
        ),
        (tcp("Address", "db.corp"), "TcpAddressNotSupported"),
        (tcp("Address", "db.corp:0"), "TcpAddressNotSupported"),
        (
            config(&[("Type", "TCP"), ("ProxyType", "OnPremise")]),
            "TcpAddressNotSupported",
        ),
        (tcp("URL", "http://db.corp:1"), "UrlNotSupported"),
        (
            config(&[("Type", "TCP"), ("ProxyType", "Internet"), ("Address", "[::1]:1")]),
            "LoopbackUrlNotSupported",
        ),
        // And what is supported.
        (with(https, "KeyStoreLocation", "key.P12"), ""),
        (with(https, "TrustStoreLocation", "roots.crt"), ""),
        (http("http://api.example.com:8080/base?x=1"), ""),
        (http("https://notlocalhost"), ""),
        (on_premise(&[]), ""),
        (tcp("Address", "localhost:5432"), ""),
        (tcp("URL", "tcp://db.corp:5432"), ""),
    ];
    for (config, expected) in cases {
        let planned = decide(
            &resource("erp"),
            &Lookup::Found(Arc::new(config.clone())),
            Some(&listening()),
        );
        let (status, reason, message) = available(&planned);
        if expected.is_empty() {
            assert_eq!(
                (status, reason),
                ("True", "ConfigurationSuccessful"),
                "{config:?}: {message}"
            );
        } else {
            let full = format!("ConfigurationError-ReferencedDestination-{expected}");
            assert_eq!(
                (status, reason),
                ("False", full.as_str()),
                "{config:?}: {message}"
            );
            assert_eq!(planned.route, None, "{config:?}");
            assert!(
                summary(&planned).contains("Accepted=False/Invalid"),
                "{}",
                summary(&planned)
            );
            assert!(message.contains(':'), "cause and remedy: {message}");
        }
    }
}

#[test]
fn a_fragment_changes_the_reason_of_a_wrong_proxy_type() {
    let mut resource = resource("erp");
    resource.spec.fragment_ref = Some(FragmentRef {
        name: Some("eu".into()),
        level: None,
        optional: false,
    });
    let mut config = http("https://a");
    config.set("ProxyType", "PrivateLink");
    let planned = decide(&resource, &Lookup::Found(Arc::new(config)), None);
    let expected = "ConfigurationError-ReferencedDestinationWithFragment-ProxyTypeNotSupported";
    assert_eq!(available(&planned).1, expected);
}

#[test]
fn what_the_resource_rules_out_is_refused() {
    let annotated = |value: &str| {
        let mut resource = resource("erp");
        let annotation = "transparent-proxy.connectivity.api.sap/tenant-subdomains".to_owned();
        resource.metadata.annotations = Some([(annotation, value.to_owned())].into());
        resource
    };
    let mut acting = resource("erp");
    acting.spec.actions = Some(vec![Action {
        name: ActionName::OAuth2ClientCredentials,
        secret_ref: SecretRef {
            name: "s".into(),
            key: "k".into(),
            namespace: None,
        },
        triggers: Vec::new(),
    }]);
    let mut named = resource("erp");
    named.metadata.name = Some("erp.eu".into());
    let cases = [
        (
            annotated("a,b"),
            "ConfigurationError-MultitenancyAnnotation-Invalid",
        ),
        (
            annotated("[1]"),
            "ConfigurationError-MultitenancyAnnotation-Invalid",
        ),
        (annotated("[\"a\"]"), "ConfigurationError-ProxyTenantModeMismatch"),
        (acting, "ConfigurationFailed"),
        (named, "ServiceCreationFailed"),
    ];
    for (resource, reason) in cases {
        let planned = decide(
            &resource,
            &Lookup::Found(Arc::new(http("https://a"))),
            Some(&listening()),
        );
        assert_eq!((available(&planned).1, &planned.route), (reason, &None));
    }
}

#[test]
fn a_fragment_of_a_level_needs_a_destination_of_a_level() {
    let decided = |level: Option<&str>, fragment: serde_json::Value| {
        let mut resource = resource("erp");
        resource.spec = serde_json::from_value(serde_json::json!({
            "destinationRef": {"name": "erp", "level": level}, "fragmentRef": fragment}))
        .unwrap();
        decide(
            &resource,
            &Lookup::Found(Arc::new(http("https://a"))),
            Some(&listening()),
        )
    };
    let levelled = serde_json::json!({"name": "eu", "level": "instance"});
    let refused = decided(None, levelled.clone());
    let (status, reason, message) = available(&refused);
    assert_eq!(
        (status, reason, &refused.route),
        (
            "False",
            "ConfigurationError-FragmentSpecification-NotSupported",
            &None
        )
    );
    assert!(message.contains("set destinationRef.level"), "{message}");
    for (level, fragment) in [
        (Some("subaccount"), levelled),
        (None, serde_json::json!({"name": "eu"})),
        (Some("subaccount"), serde_json::json!({"name": "eu"})),
    ] {
        let planned = decided(level, fragment.clone());
        assert!(planned.route.is_some(), "{level:?} {fragment}");
    }
}
