//! Values that Helm refuses; no cluster is needed.

use landbridge_tests::charts::{chart, helm};

use super::page::{Row, row};

/// What Helm says of the chart of the connectivity proxies with these values.
fn template(values: &str) -> Result<String, String> {
    let folder = chart("landbridge-connectivity");
    let host = "config.servers.businessDataTunnel.externalHost=tunnel.example.com";
    let folder = folder.to_str().expect("a path");
    helm(&["template", "x", folder, "--set", host, "--set", values], &[])
}

fn refused(row: &Row, number: usize, values: &str) {
    let said = template(values).expect_err("Helm refuses them");
    row.is_in(number, &said);
}

#[test]
fn a_value_that_is_not_known_is_refused_with_its_path() {
    let row = row("typo-in-values");
    refused(&row, 1, "config.servers.buisnessDataTunnel.port=8042");
    template("config.servers.businessDataTunnel.port=8042").expect("the right one is taken");
}

#[test]
fn several_replicas_need_hosts_of_their_own() {
    let row = row("several-replicas");
    refused(&row, 1, "deployment.replicaCount=2");
    row.advises("subdomain");
    template("deployment.replicaCount=2,config.highAvailabilityMode=subdomain")
        .expect("subdomain is a remedy");
    template("deployment.replicaCount=1").expect("one replica is a remedy");
}
