use super::*;

fn wanted() -> Wanted {
    Wanted {
        key: RouteKey::new("shop", "erp"),
        uid: "u-1".into(),
        installation: "landbridge-system".into(),
        protocol: RouteProtocol::Http,
        service_port: None,
        proxy_port: 10_001,
    }
}

fn endpoint(address: &str) -> ProxyEndpoint {
    ProxyEndpoint {
        address: address.parse().unwrap(),
        ready: true,
        terminating: false,
        node: Some("n1".into()),
        namespace: "landbridge-system".into(),
        pod: format!("proxy-{address}"),
        uid: format!("uid-{address}"),
    }
}

/// What the API server adds must not look like a difference, or every reconcile would write.
#[test]
fn defaults_of_the_api_server_are_no_difference() {
    let service = wanted().service();
    let mut real = service.clone();
    real.metadata.uid = Some("x".into());
    real.metadata.resource_version = Some("7".into());
    real.metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("team".into(), "a".into());
    let spec = real.spec.as_mut().unwrap();
    spec.cluster_ip = Some("198.19.0.7".into());
    spec.session_affinity = Some("None".into());
    assert_eq!(service_shape(&service), service_shape(&real));

    let slice = wanted().slice(Family::V4, &[endpoint("10.0.0.2"), endpoint("10.0.0.1")]);
    let turned = wanted().slice(Family::V4, &[endpoint("10.0.0.1"), endpoint("10.0.0.2")]);
    assert_eq!(
        slice_shape(&slice),
        slice_shape(&turned),
        "the order of reports says nothing"
    );
}

#[test]
fn every_decided_field_is_a_difference() {
    let service = wanted().service();
    type Change = fn(&mut Service);
    let changes: [(&str, Change); 7] = [
        ("port", |s| {
            s.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = 81
        }),
        ("target", |s| {
            s.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].target_port = Some(IntOrString::Int(1));
        }),
        ("type", |s| {
            s.spec.as_mut().unwrap().type_ = Some("NodePort".into())
        }),
        ("selector", |s| {
            s.spec.as_mut().unwrap().selector = Some([("app".to_owned(), "x".to_owned())].into());
        }),
        ("label", |s| {
            s.metadata.labels.as_mut().unwrap().remove(DESTINATION_LABEL);
        }),
        ("owner", |s| s.metadata.owner_references = None),
        ("second port", |s| {
            let ports = s.spec.as_mut().unwrap().ports.as_mut().unwrap();
            ports.push(ports[0].clone());
        }),
    ];
    for (what, change) in changes {
        let mut real = service.clone();
        change(&mut real);
        assert_ne!(service_shape(&service), service_shape(&real), "{what}");
    }
    let slice = |endpoint: ProxyEndpoint| slice_shape(&wanted().slice(Family::V4, &[endpoint]));
    let usual = slice(endpoint("10.0.0.1"));
    for other in [
        endpoint("10.0.0.2"),
        ProxyEndpoint {
            ready: false,
            ..endpoint("10.0.0.1")
        },
        ProxyEndpoint {
            terminating: true,
            ..endpoint("10.0.0.1")
        },
        ProxyEndpoint {
            uid: "new".into(),
            ..endpoint("10.0.0.1")
        },
    ] {
        assert_ne!(usual, slice(other));
    }
}

#[test]
fn each_family_has_a_slice_of_its_own() {
    let both = [endpoint("10.0.0.1"), endpoint("fd00::1")];
    let v4 = wanted().slice(Family::V4, &both);
    let v6 = wanted().slice(Family::V6, &both);
    assert_eq!((v4.endpoints.len(), v6.endpoints.len()), (1, 1));
    assert_eq!(v6.address_type, "IPv6");
    assert_ne!(v4.metadata.name, v6.metadata.name);
}

#[test]
fn says_where_it_leads_and_whose_it_is() {
    let mut wanted = wanted();
    assert_eq!(wanted.port(), 80);
    wanted.protocol = RouteProtocol::Tcp;
    assert_eq!(wanted.port(), 20004);
    wanted.service_port = Some(8080);
    assert_eq!(wanted.port(), 8080);
    let service = wanted.service();
    assert_eq!(owner(&service.metadata), Some("u-1"));
    assert_eq!(target(&service), Some((10_001, RouteProtocol::Tcp)));
    assert_eq!(destination_of_slice(&Family::V6.slice_name("erp")), "erp");
    let mut foreign = service;
    foreign.metadata.labels = None;
    assert_eq!(
        owner(&foreign.metadata),
        None,
        "without our label it is somebody else's"
    );
}
