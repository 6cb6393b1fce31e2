use super::*;

fn bag(pairs: &[(&str, &str)]) -> DestinationConfig {
    pairs.iter().copied().collect()
}

fn problems(config: &DestinationConfig) -> Vec<String> {
    config.validate().map_or_else(
        |invalid| invalid.problems().iter().map(|p| p.property.clone()).collect(),
        |()| Vec::new(),
    )
}

#[test]
fn order_and_unknown_properties_survive_json() {
    let text = r#"{"Zeta":"1","Name":"x","sap-client":"100","Alpha":"\u00e4"}"#;
    let config: DestinationConfig = serde_json::from_str(text).unwrap();
    let keys: Vec<&str> = config.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["Zeta", "Name", "sap-client", "Alpha"]);
    let again = serde_json::to_string(&config).unwrap();
    assert_eq!(
        again,
        "{\"Zeta\":\"1\",\"Name\":\"x\",\"sap-client\":\"100\",\"Alpha\":\"\u{e4}\"}"
    );
}

#[test]
fn scalars_become_text_and_the_rest_is_refused_by_name() {
    let config: DestinationConfig = serde_json::from_str(r#"{"TrustAll":true,"port":80}"#).unwrap();
    assert_eq!(
        (config.get("TrustAll"), config.get("port")),
        (Some("true"), Some("80"))
    );
    for (text, expected) in [
        (r#"{"URL":null}"#, "property \"URL\" is null"),
        (r#"{"URL":["a"]}"#, "property \"URL\" is an array"),
        (r#"{"URL":{"a":1}}"#, "property \"URL\" is an object"),
        (r#"{"URL":"a","URL":"b"}"#, "appears twice"),
        ("[]", "an object of text properties"),
    ] {
        let error = serde_json::from_str::<DestinationConfig>(text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn debug_hides_secrets() {
    let config = bag(&[
        ("Name", "n"),
        ("Password", "hunter2"),
        ("clientSecret", "hunter3"),
        ("URL", "https://user:hunter4@host/path@x"),
        ("URL.headers.X-Api-Key", "hunter5"),
    ]);
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(
        shown.contains("@host/path@x") && shown.contains("Name"),
        "{shown}"
    );
    assert_eq!(config.without_secrets().len(), 2);
}

#[test]
fn typed_readings() {
    let config = bag(&[
        ("Name", "dest"),
        ("Type", "HTTP"),
        ("URL", " http://virtualhost:80 "),
        ("Authentication", "PrincipalPropagation"),
        ("ProxyType", "OnPremise"),
        ("CloudConnectorLocationId", ""),
        ("TrustAll", "TRUE"),
    ]);
    assert_eq!(
        config.url(),
        Some("http://virtualhost:80"),
        "seed L6879 has a blank before the URL"
    );
    assert_eq!(config.kind(), Some(DestinationKind::Http));
    assert_eq!(config.authentication(), Authentication::PrincipalPropagation);
    assert_eq!(config.proxy_type(), ProxyType::OnPremise);
    assert_eq!(config.location_id(), None);
    assert!(config.trust_all());
    assert_eq!(bag(&[]).proxy_type(), ProxyType::Internet, "seed L6628");
    assert_eq!(
        bag(&[("Authentication", "New")]).authentication(),
        Authentication::Unknown("New".into())
    );
    let ldap = bag(&[
        ("Type", "LDAP"),
        ("ldap.url", "ldap://h"),
        ("ldap.proxyType", "OnPremise"),
    ]);
    assert_eq!(
        (ldap.url(), ldap.proxy_type()),
        (Some("ldap://h"), ProxyType::OnPremise)
    );
}

#[test]
fn timeouts_fall_back_instead_of_clamping() {
    for (value, connect, read) in [
        ("1", 1, 1),
        ("300", 300, 300),
        ("301", 5, 301),
        ("0", 5, 30),
        ("-1", 5, 30),
        ("abc", 5, 30),
        ("43200", 5, 43200),
    ] {
        let config = bag(&[
            ("URL.connectionTimeoutInSeconds", value),
            ("URL.socketReadTimeoutInSeconds", value),
        ]);
        assert_eq!(config.connection_timeout().as_secs(), connect, "{value}");
        assert_eq!(config.socket_read_timeout().as_secs(), read, "{value}");
    }
}

#[test]
fn additions_are_stripped_of_their_prefix_and_checked() {
    let config = bag(&[
        ("URL.headers.X-One", " 1 "),
        ("Other", "x"),
        ("URL.queries.foo", "bar&2"),
        ("URL.headers.apiKey", "k"),
        ("URL.headers.bad name", "x"),
        ("URL.headers.X-Line", "a\r\nb"),
        ("URL.headers.Transfer-Encoding", "chunked"),
    ]);
    let found: Vec<_> = config.header_additions().collect();
    let ok: Vec<_> = found.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(ok[0].0.as_str(), "x-one");
    assert_eq!((ok[0].1.to_str().unwrap(), ok[0].1.is_sensitive()), ("1", false));
    assert_eq!((ok[1].0.as_str(), ok[1].1.is_sensitive()), ("apikey", true));
    assert_eq!((ok.len(), found.len()), (2, 5));
    assert_eq!(config.query_additions().collect::<Vec<_>>(), [("foo", "bar&2")]);
}

#[test]
fn names_t10() {
    let long = "a".repeat(200);
    let too_long = "a".repeat(201);
    for (name, accepted) in [
        (long.as_str(), true),
        ("a-b_C1", true),
        (&too_long, false),
        ("a.b", false),
        ("\u{e4}", false),
        ("", false),
        (" a", false),
    ] {
        assert_eq!(check_name(name).is_ok(), accepted, "{name}");
        let config = bag(&[("Name", name), ("Type", "MAIL")]);
        assert_eq!(problems(&config).is_empty(), accepted, "{name}");
    }
}

#[test]
fn every_mistake_is_reported_with_its_property() {
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (&[], &["Name", "Type"]),
        (
            &[("Name", "a"), ("Type", "FTP"), ("ProxyType", "Moon")],
            &["Type", "ProxyType"],
        ),
        (&[("Name", "a"), ("Type", "HTTP")], &["URL", "Authentication"]),
        (
            &[
                ("Name", "a b"),
                ("Type", "HTTP"),
                ("URL", "ftp://x"),
                ("Authentication", "BasicAuthentication"),
            ],
            &["Name", "URL", "User", "Password"],
        ),
        (
            &[
                ("Name", "a"),
                ("Type", "HTTP"),
                ("URL", "http://h"),
                ("Authentication", "OAuth2ClientCredentials"),
            ],
            &["tokenServiceURL", "clientId"],
        ),
        (
            &[
                ("Name", "a"),
                ("Type", "HTTP"),
                ("URL", "http://h"),
                ("Authentication", "Basic"),
            ],
            &["Authentication"],
        ),
        (
            &[
                ("Name", "a"),
                ("Type", "HTTP"),
                ("URL", "http://h"),
                ("Authentication", "PrincipalPropagation"),
            ],
            &["ProxyType"],
        ),
        (
            &[("Name", "a"), ("Type", "TCP"), ("Address", "nowhere")],
            &["Address"],
        ),
        (
            &[("Name", "a"), ("Type", "MAIL"), ("Description", "x\0y")],
            &["Description"],
        ),
    ];
    for (pairs, expected) in cases {
        assert_eq!(problems(&bag(pairs)), *expected, "{pairs:?}");
    }
}

#[test]
fn seed_samples_are_accepted() {
    let samples: &[&[(&str, &str)]] = &[
        // seed L6879
        &[
            ("Name", "OnPremiseDestination"),
            ("Type", "HTTP"),
            ("URL", " http://virtualhost:80"),
            ("Authentication", "PrincipalPropagation"),
            ("ProxyType", "OnPremise"),
        ],
        // seed L7637: a placeholder in the host
        &[
            ("URL", "https://api.{landscape-domain}/desired-service-path"),
            ("Name", "sapOAuthCC"),
            ("ProxyType", "Internet"),
            ("Type", "HTTP"),
            ("Authentication", "OAuth2ClientCredentials"),
            (
                "tokenServiceURL",
                "https://api.{landscape-domain}/oauth2/apitoken/v1?grant_type=client_credentials",
            ),
            ("tokenServiceUser", "clientIdValue"),
            ("tokenServicePassword", "secretValue"),
            ("clientId", "clientIdValue"),
            ("clientSecret", "secretValue"),
        ],
        // seed L9956: no secret, an assertion stands for it
        &[
            ("Name", "Uses_Client_Assertion_Destination"),
            ("Type", "HTTP"),
            ("URL", " https://xxxx.example.com"),
            ("ProxyType", "Internet"),
            ("Authentication", "OAuth2ClientCredentials"),
            ("clientId", "clientId"),
            ("tokenServiceURL", "https://authserver2.example.com/oauth/token/"),
            (
                "clientAssertion.destinationName",
                "Provides_Client_Assertion_Destination",
            ),
        ],
        // seed L35190
        &[
            ("Name", "db"),
            ("Type", "TCP"),
            ("Address", "virtual:1433"),
            ("ProxyType", "OnPremise"),
        ],
    ];
    for sample in samples {
        assert_eq!(problems(&bag(sample)), Vec::<String>::new(), "{sample:?}");
    }
}

#[test]
fn sizes_are_bounded() {
    let big = "x".repeat(MAX_VALUE_BYTES + 1);
    let config = bag(&[("Name", "a"), ("Type", "MAIL"), ("Description", &big)]);
    assert_eq!(problems(&config), ["Description"]);
    let many: DestinationConfig = (0..MAX_PROPERTIES + 1).map(|i| (format!("k{i}"), "v")).collect();
    let json = serde_json::to_string(&many).unwrap();
    assert!(
        serde_json::from_str::<DestinationConfig>(&json)
            .unwrap_err()
            .to_string()
            .contains("more than 512")
    );
}

#[test]
fn tolerant_reading_leaves_out_what_is_no_text() {
    #[derive(serde::Deserialize)]
    struct Wrapper {
        #[serde(deserialize_with = "DestinationConfig::deserialize_tolerant")]
        bag: DestinationConfig,
    }
    let text = r#"{"bag":{"Name":"a","$metadata":{"owner":{}},"Nothing":null,"n":1}}"#;
    let wrapper: Wrapper = serde_json::from_str(text).unwrap();
    assert_eq!(
        wrapper.bag.iter().collect::<Vec<_>>(),
        [("Name", "a"), ("n", "1")]
    );
}

#[test]
fn urls_lose_their_credentials_with_the_secrets() {
    let config: DestinationConfig = [
        ("URL", "https://user:pass@word@host:1/a?b=c@d"),
        ("tokenServiceURL", "https://plain/t@x"),
        ("note", "mail a@b"),
        ("Password", "p"),
    ]
    .into_iter()
    .collect();
    let kept = config.without_secrets();
    let kept: Vec<_> = kept.iter().collect();
    assert_eq!(
        kept,
        [
            ("URL", "https://host:1/a?b=c@d"),
            ("tokenServiceURL", "https://plain/t@x"),
            ("note", "mail a@b"),
        ]
    );
    assert!(format!("{config:?}").contains("https://[hidden]@host:1/a"));
}
