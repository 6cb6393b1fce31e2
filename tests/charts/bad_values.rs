//! Values that are wrong: each is refused with its path, or with a sentence that says what to do.

use landbridge_tests::charts::{chart, template};

/// A service key without a secret, base64-encoded.
const WITHOUT_SECRET: &str = "eyJjbGllbnRpZCI6ImEiLCJ1cmwiOiJodHRwczovL2EiLCJ1cmkiOiJodHRwczovL2EifQ==";

const INSTANCES: &str = "config.integration.destinationService.instances";
const CREDENTIALS: &str = "config.integration.destinationService.serviceCredentials";

fn refusal(values: &str) -> String {
    template(&chart("landbridge"), "lb", "system", &["--set", values])
        .err()
        .unwrap_or_else(|| panic!("{values} was taken"))
}

#[test]
fn a_typo_is_refused_with_its_path() {
    for (values, path) in [
        ("confg.x=1", "at '': additional properties 'confg'"),
        (
            "config.loging.level=info",
            "at '/config': additional properties 'loging'",
        ),
        (
            "config.integration.destinationService.serviceCredentials.secretname=x",
            "serviceCredentials': additional properties 'secretname'",
        ),
        (
            "deployment.resources.http.limits.memroy=1G",
            "/deployment/resources/http/limits': additional properties 'memroy'",
        ),
        (
            "deployment.autoscaling.http.horizontal.maxReplicas=3",
            "/deployment/autoscaling/http/horizontal': additional properties 'maxReplicas'",
        ),
        (
            "store.persistance.size=1Gi",
            "at '/store': additional properties 'persistance'",
        ),
        (
            "operator.replica=1",
            "at '/operator': additional properties 'replica'",
        ),
        ("proxy.drain=1", "at '/proxy': additional properties 'drain'"),
        (
            "networkPolicy.enable=true",
            "at '/networkPolicy': additional properties 'enable'",
        ),
        ("node.enable=true", "at '/node': additional properties 'enable'"),
        (
            "sidecar.unproven=delete",
            "at '/sidecar': additional properties 'unproven'",
        ),
        (
            "monitoring.podMonitor.intervall=1s",
            "/monitoring/podMonitor': additional properties 'intervall'",
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
            "config.logging.level=loud",
            "/config/logging/level",
            "one of 'trace', 'debug'",
        ),
        (
            "config.managedNamespacesMode=some",
            "/config/managedNamespacesMode",
            "'all', 'labelSelector'",
        ),
        (
            "config.security.accessControl.destinations.defaultScope=cluster",
            "/config/security/accessControl/destinations/defaultScope",
            "'clusterWide'",
        ),
        (
            "config.integration.destinationService.connectionTimeoutSeconds=0",
            "/config/integration/destinationService/connectionTimeoutSeconds",
            "minimum",
        ),
        (
            "config.integration.destinationService.readTimeoutSeconds=61",
            "/config/integration/destinationService/readTimeoutSeconds",
            "maximum",
        ),
        (
            "config.manager.executionIntervalMinutes=0",
            "/config/manager/executionIntervalMinutes",
            "minimum",
        ),
        (
            "config.manager.executionIntervalMinutes=often",
            "/config/manager/executionIntervalMinutes",
            "want integer",
        ),
        (
            "config.security.communication.internal.certManager.issuerRef.kind=CA",
            "/issuerRef/kind",
            "'ClusterIssuer'",
        ),
        (
            "config.security.communication.internal.certManager.certificate.duration=30d",
            "/certificate/duration",
            "pattern",
        ),
        (
            "deployment.replicas.http=0",
            "/deployment/replicas/http",
            "minimum",
        ),
        (
            "deployment.image.pullPolicy=Sometimes",
            "/deployment/image/pullPolicy",
            "'IfNotPresent'",
        ),
        (
            "deployment.image.digest=0123",
            "/deployment/image/digest",
            "pattern",
        ),
        (
            "deployment.autoscaling.http.vertical.updateMode=On",
            "/vertical/updateMode",
            "'Recreate'",
        ),
        (
            "deployment.resources.http.limits.cpu=much",
            "/deployment/resources/http/limits/cpu",
            "pattern",
        ),
        ("operator.portRange=all", "/operator/portRange", "pattern"),
        (
            "proxy.drainDelaySeconds=301",
            "/proxy/drainDelaySeconds",
            "maximum",
        ),
        ("node.adminPort=80", "/node/adminPort", "minimum"),
        ("node.maxSurge=0", "/node/maxSurge", "minimum"),
        ("node.addresses={10.0.0.1}", "/node/addresses/0", "pattern"),
        ("sidecar.proxyUid=0", "/sidecar/proxyUid", "minimum"),
        (
            "sidecar.unprovenPods=restart",
            "/sidecar/unprovenPods",
            "'delete'",
        ),
        ("sidecar.podSecurity=strict", "/sidecar/podSecurity", "'baseline'"),
        ("store.subdomain=My Company", "/store/subdomain", "pattern"),
        ("store.replicas=0", "/store/replicas", "minimum"),
        ("store.keySecret.key=", "/store/keySecret/key", "pattern"),
        (
            "store.database.urlSecret.name=A_b",
            "/store/database/urlSecret/name",
            "pattern",
        ),
        ("ipFamilyPolicy=Both", "/ipFamilyPolicy", "'RequireDualStack'"),
        ("ipFamilies={IPv5}", "/ipFamilies/0", "'IPv6'"),
        (
            "config.integration.destinationService.serviceCredentials.secretData={}",
            "/serviceCredentials/secretData",
            "want string",
        ),
        (
            "config.integration.destinationService.instances[0].name=a",
            "/instances/0",
            "missing property 'serviceCredentials'",
        ),
        (
            "config.integration.destinationService.instances[0].name=A_B",
            "/instances/0/name",
            "pattern",
        ),
    ] {
        let said = refusal(values);
        assert!(said.contains(path) && said.contains(what), "{values}: {said}");
    }
}

/// What a schema cannot say.
#[test]
fn values_that_exclude_each_other_are_refused_with_what_to_do() {
    let scaling = |one: &str, other: &str| {
        format!("deployment.autoscaling.{one}.enabled=true,deployment.autoscaling.{other}.enabled=true")
    };
    let two = format!("{INSTANCES}[0].name=a,{INSTANCES}[0].serviceCredentials.secretName=s");
    for (values, said) in [
        (
            scaling("http.horizontal", "http.vertical"),
            "they exclude each other: enable one of them",
        ),
        (
            scaling("tcp.horizontal", "tcp.vertical"),
            "they exclude each other: enable one of them",
        ),
        (
            scaling("http.horizontal", "tcp.vertical"),
            "one kind of proxy serves HTTP and TCP",
        ),
        (
            "deployment.replicas.tcp=3,deployment.autoscaling.http.horizontal.enabled=true".to_owned(),
            "maxReplicaCount: 2 is less than the 3 replicas to start with: raise it",
        ),
        ("compliance.fipsModeEnabled=true".to_owned(), "set it to false"),
        (
            "operator.watchNamespace=shop,config.managedNamespacesMode=labelSelector".to_owned(),
            "set one of them",
        ),
        (
            "operator.watchNamespace=shop,operator.webhook.failClosed=true".to_owned(),
            "there is no admission webhook",
        ),
        (
            "monitoring.podMonitor.enabled=true,monitoring.serviceMonitor.enabled=true".to_owned(),
            "enable one of them",
        ),
        (
            "sidecar.enabled=true,config.security.communication.internal.certManager.enabled=true".to_owned(),
            "set one of the two to false, or use the gateways or node.enabled",
        ),
        (
            "sidecar.enabled=true,operator.webhook.enabled=false".to_owned(),
            "set operator.webhook.enabled to true",
        ),
        (
            "sidecar.enabled=true,operator.watchNamespace=shop".to_owned(),
            "operator.watchNamespace to \"\"",
        ),
        (
            "sidecar.enabled=true,proxy.enabled=false".to_owned(),
            "set proxy.enabled to true",
        ),
        (
            "additionalCAs.secretName=ca".to_owned(),
            "additionalCAs.secretKey: say which key",
        ),
        (
            format!("{CREDENTIALS}.secretData=bm8="),
            "encode the key as it was printed",
        ),
        (format!("{CREDENTIALS}.secretData=e30="), "has no \"clientid\""),
        (
            format!("{CREDENTIALS}.secretData={WITHOUT_SECRET}"),
            "create one with a secret",
        ),
        (
            format!("{CREDENTIALS}.secretData=e30=,store.enabled=true"),
            "store.enabled makes the service key itself",
        ),
        (
            format!("{CREDENTIALS}.secretKey=k,{two}"),
            "move the former into instances",
        ),
        (
            format!("{two},{INSTANCES}[1].name=a,{INSTANCES}[1].serviceCredentials.secretName=t"),
            "two instances are named a",
        ),
        (
            format!("{two},config.integration.destinationService.defaultInstanceName=b"),
            "b is none of the instances (a)",
        ),
    ] {
        let error = refusal(&values);
        assert!(error.contains(said), "{values}: {error}");
    }
}

#[test]
fn a_store_for_several_needs_a_database_and_a_key() {
    for (values, said) in [
        (
            "store.replicas=2",
            "2 stores cannot share one file: name a PostgreSQL database with store.database.urlSecret.name",
        ),
        (
            "store.database.urlSecret.name=db",
            "store.keySecret.name: with PostgreSQL the key that everything is encrypted with must be in a Secret",
        ),
        (
            "store.database.urlSecret.name=db,store.keySecret.name=k,store.persistence.existingClaim=c",
            "with PostgreSQL (store.database.urlSecret) the store has no volume",
        ),
    ] {
        let error = refusal(&format!("store.enabled=true,{values}"));
        assert!(error.contains(said), "{values}: {error}");
    }
}
