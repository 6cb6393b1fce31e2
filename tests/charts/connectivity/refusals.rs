//! Values that are wrong, or would do something else than they say: each is refused with what to do.

use landbridge_tests::charts::{chart, template};

use super::CHART;

const HOST: &str = "config.servers.businessDataTunnel.externalHost=tunnel.example.com";

fn refusal(values: &str) -> String {
    template(&chart(CHART), "lc", "system", &["--set", HOST, "--set", values])
        .err()
        .unwrap_or_else(|| panic!("{values} was taken"))
}

#[test]
fn a_typo_is_refused_with_its_path() {
    for (values, path) in [
        ("ingres.className=nginx", "at '': additional properties 'ingres'"),
        (
            "config.servers.buisnessDataTunnel.externalHost=x",
            "at '/config/servers': additional properties 'buisnessDataTunnel'",
        ),
        (
            "config.servers.businessDataTunnel.externalhost=x",
            "at '/config/servers/businessDataTunnel': additional properties 'externalhost'",
        ),
        (
            "config.servers.proxy.socks.enabled=true",
            "at '/config/servers/proxy': additional properties 'socks'",
        ),
        (
            "deployment.replicas=2",
            "at '/deployment': additional properties 'replicas'",
        ),
        (
            "ingress.tls.secret=x",
            "at '/ingress/tls': additional properties 'secret'",
        ),
        (
            "persistence.storageClass=fast",
            "at '/persistence': additional properties 'storageClass'",
        ),
        // The part that is Landbridge itself has a schema of its own.
        (
            "transparent-proxy.enabled=true,transparent-proxy.stor.enabled=true",
            "additional properties 'stor'",
        ),
    ] {
        let said = refusal(values);
        assert!(said.contains(path), "{values}: {said}");
    }
}

#[test]
fn a_value_out_of_its_range_is_refused_with_its_path() {
    for (values, path, what) in [
        (
            "config.highAvailabilityMode=on",
            "/config/highAvailabilityMode",
            "'subdomain'",
        ),
        ("config.tenantMode=multi", "/config/tenantMode", "'dedicated'"),
        (
            "config.servers.businessDataTunnel.externalPort=0",
            "/externalPort",
            "minimum",
        ),
        (
            "config.servers.businessDataTunnel.externalPort=https",
            "/externalPort",
            "want integer",
        ),
        (
            "config.servers.businessDataTunnel.port=443",
            "/businessDataTunnel/port",
            "minimum",
        ),
        (
            "config.servers.businessDataTunnel.externalHost=https://t.example",
            "/externalHost",
            "pattern",
        ),
        ("ingress.className=traefik", "/ingress/className", "'istio'"),
        (
            "ingress.timeouts.proxy.read=5",
            "/ingress/timeouts/proxy/read",
            "minimum",
        ),
        ("deployment.replicaCount=0", "/deployment/replicaCount", "minimum"),
        (
            "deployment.resources.limits.memory=much",
            "/deployment/resources/limits/memory",
            "pattern",
        ),
        (
            "deployment.autoscaling.vertical.updateMode=On",
            "/vertical/updateMode",
            "'Off'",
        ),
        ("service.type=ExternalName", "/service/type", "'LoadBalancer'"),
        (
            "persistence.whenDeleted=Keep",
            "/persistence/whenDeleted",
            "'Retain'",
        ),
        (
            "networkPolicy.destinationPorts=all",
            "/networkPolicy/destinationPorts",
            "pattern",
        ),
        ("chart.nameSuffix=Blue_1", "/chart/nameSuffix", "pattern"),
        (
            "config.integration.destinationService.instances[0].name=a",
            "/instances/0",
            "missing property 'serviceCredentials'",
        ),
    ] {
        let said = refusal(values);
        assert!(said.contains(path) && said.contains(what), "{values}: {said}");
    }
}

/// What a schema cannot say. The first ones would leave callers without an answer or act for another tenant; a refusal
/// before anything has changed costs least.
#[test]
fn what_this_version_does_not_do_is_refused_with_what_to_do_instead() {
    for (values, expected) in [
        (
            "config.servers.proxy.http.enabled=true",
            "no HTTP proxy server (port 20003): declare a Destination",
        ),
        (
            "config.servers.proxy.rfcAndLdap.enabled=true",
            "no RFC and LDAP proxy server (port 20001)",
        ),
        (
            "config.tenantMode=shared",
            "set dedicated, and install once for each subaccount",
        ),
        (
            "config.multiRegionMode.enabled=true",
            "config.integration.destinationService.instances",
        ),
        (
            "config.highAvailabilityMode=path",
            "set subdomain, where each replica has a host of its own",
        ),
        (
            "deployment.image.repository=com.sap.cloud.connectivity/connectivity-proxy",
            "is the image of another product",
        ),
        (
            "deployment.image.repository=sapse/connectivity-proxy",
            "is the image of another product",
        ),
    ] {
        let said = refusal(values);
        assert!(said.contains(expected), "{values}: {said}");
    }
}

#[test]
fn values_that_exclude_each_other_are_refused_with_what_to_do() {
    let horizontal = "deployment.autoscaling.horizontal.enabled=true";
    let subdomain = "config.highAvailabilityMode=subdomain";
    let instance = "config.integration.destinationService.instances";
    for (values, expected) in [
        (
            "deployment.replicaCount=2".to_owned(),
            "deployment.replicaCount: several replicas need config.highAvailabilityMode subdomain",
        ),
        (
            horizontal.to_owned(),
            "deployment.autoscaling.horizontal.enabled: several replicas need",
        ),
        (
            format!("{horizontal},deployment.autoscaling.vertical.enabled=true"),
            "they exclude each other: enable one of them",
        ),
        (
            format!("{horizontal},{subdomain},deployment.replicaCount=3"),
            "2 is less than the 3 replicas to start with: raise it",
        ),
        (
            "config.servers.businessDataTunnel.externalHost=".to_owned(),
            "say under which host connectors reach this cluster",
        ),
        (
            "service.nodePort=30842".to_owned(),
            "set service.type to NodePort",
        ),
        (
            format!("service.type=NodePort,service.nodePort=30842,{subdomain}"),
            "list their ports under service.nodePorts",
        ),
        (
            "service.type=NodePort,service.nodePorts={30842}".to_owned(),
            "set service.nodePort",
        ),
        (
            format!(
                "{instance}[0].name=a,{instance}[0].serviceCredentials.secretName=s,config.integration.destinationService.serviceCredentials.secretName=t"
            ),
            "move the former into instances",
        ),
        (
            format!(
                "{instance}[0].name=a,{instance}[0].serviceCredentials.secretName=s,{instance}[1].name=a,{instance}[1].serviceCredentials.secretName=t"
            ),
            "two instances are named a",
        ),
        (
            format!(
                "{instance}[0].name=a,{instance}[0].serviceCredentials.secretName=s,config.integration.destinationService.defaultInstanceName=b"
            ),
            "b is none of the instances (a): name one of those",
        ),
        (
            "additionalCAs.secretName=ca".to_owned(),
            "say which key of the Secret ca holds",
        ),
        (
            "ingress.tls.secretData.key=LS0tLS1CRUdJTiA=".to_owned(),
            "certificate and key belong together",
        ),
        (
            "ingress.tls.secretData.key=AAAA,ingress.tls.secretData.certificate=AAAA".to_owned(),
            "ingress.tls.secretData.certificate: it is no base64-encoded PEM",
        ),
    ] {
        let said = refusal(&values);
        assert!(said.contains(expected), "{values}: {said}");
    }
}
