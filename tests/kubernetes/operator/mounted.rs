//! Certificates that somebody else makes: mounted files, as cert-manager's Secrets are, made with openssl here.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use landbridge_operator::certificates::CertificateConfig;
use landbridge_operator::certificates::mounted::{MountedConfig, follower};
use landbridge_operator::serve::Leadership;
use landbridge_runtime::readiness::Readiness;
use landbridge_tests::control_plane::ControlPlane;
use landbridge_tests::operator::{Installation, OperatorProcess};
use landbridge_tests::{eventually, free_port};
use serde_json::json;
use tokio::sync::watch;

fn openssl(folder: &Path, arguments: &[&str]) {
    let ended = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output();
    let ended = ended.expect("openssl starts");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "openssl {arguments:?}: {said}");
}

/// An authority, and a folder that looks like a mounted Secret.
struct Issuer {
    work: PathBuf,
    mounted: PathBuf,
    name: &'static str,
    names: String,
}

impl Issuer {
    fn new(installation: &Installation, name: &'static str) -> Self {
        let (work, mounted) = (installation.path("issuer"), installation.path("mounted"));
        std::fs::create_dir_all(&work).expect("a folder");
        std::fs::create_dir_all(&mounted).expect("a folder");
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let subject = format!("/CN=company {name}");
        let usage = "keyUsage=critical,keyCertSign,cRLSign";
        let made = [
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", &subject,
        ];
        openssl(
            &work,
            &[
                &made[..],
                &["-addext", usage, "-keyout", &key, "-out", &certificate],
            ]
            .concat(),
        );
        let system = installation.system.name();
        Self {
            work,
            mounted,
            name,
            names: format!("DNS:landbridge-operator,DNS:landbridge-operator.{system}.svc,IP:127.0.0.1"),
        }
    }

    /// A certificate for these names, in a folder of its own.
    fn issue(&self, folder: &str, names: &str, days: &str) -> PathBuf {
        let path = self.work.join(folder);
        std::fs::create_dir_all(&path).expect("a folder");
        let ca = |kind: &str| {
            self.work
                .join(format!("{}.{kind}", self.name))
                .display()
                .to_string()
        };
        std::fs::write(path.join("names"), format!("subjectAltName={names}\n")).expect("written");
        let request = [
            "req",
            "-new",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=landbridge-operator",
        ];
        openssl(
            &path,
            &[&request[..], &["-keyout", "tls.key", "-out", "request"]].concat(),
        );
        let (authority, key) = (ca("crt"), ca("key"));
        let sign = [
            "x509", "-req", "-in", "request", "-CA", &authority, "-CAkey", &key, "-days", days,
        ];
        openssl(
            &path,
            &[&sign[..], &["-extfile", "names", "-out", "tls.crt"]].concat(),
        );
        std::fs::copy(&authority, path.join("ca.crt")).expect("copied");
        path
    }

    fn good(&self, folder: &str) -> PathBuf {
        self.issue(folder, &self.names, "10")
    }

    /// Turns the link `..data`, as the kubelet does.
    fn mount(&self, files: &Path) {
        let (next, data) = (self.mounted.join("..next"), self.mounted.join("..data"));
        let _ = std::fs::remove_file(&next);
        std::os::unix::fs::symlink(files, &next).expect("a link");
        std::fs::rename(&next, &data).expect("turned");
    }

    fn authority(&self) -> String {
        std::fs::read_to_string(self.work.join(format!("{}.crt", self.name))).expect("the authority")
    }
}

async fn says(operator: &OperatorProcess, part: &str) {
    eventually(&format!("the operator says {part:?}"), async || {
        let status = operator.page("/status").await?.json();
        let said = status["Components"]["certificates"]["Message"].to_string();
        if said.contains(part) { Ok(()) } else { Err(said) }
    })
    .await;
}

/// The certificate that a server shows, PEM.
fn shown(operator: &OperatorProcess) -> String {
    let server = operator.serve().to_string();
    let asked = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &server,
            "-servername",
            "landbridge-operator",
        ])
        .stdin(std::process::Stdio::null())
        .output();
    let text = String::from_utf8_lossy(&asked.expect("openssl starts").stdout).into_owned();
    let begin = text.find("-----BEGIN CERTIFICATE-----");
    let end = text.find("-----END CERTIFICATE-----");
    begin
        .zip(end)
        .map_or_else(String::new, |(begin, end)| text[begin..end].to_owned())
}

async fn until_shown(operator: &OperatorProcess, files: &Path) {
    let wanted = std::fs::read_to_string(files.join("tls.crt")).expect("a certificate");
    eventually("the new certificate is shown", async || {
        let shown = shown(operator);
        if !shown.is_empty() && wanted.contains(&shown) {
            Ok(())
        } else {
            Err(shown)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_from_files_are_used_renewed_and_judged() {
    // Of its own: the webhook looks at the resources of everybody.
    let plane = ControlPlane::start().await;
    plane.apply_crds().await;
    let installation = Installation::on(&plane, "mounted").await;
    let https =
        json!({"Name": "erp", "Type": "HTTP", "ProxyType": "Internet", "URL": "https://erp.example.com"});
    installation.store.put(&[https]).await;
    let issuer = Issuer::new(&installation, "one");
    let other = Issuer::new(&installation, "two");
    let folder = issuer.mounted.to_str().expect("a path");
    let start = async |name: &'static str| {
        let port = free_port();
        let (listen, url) = (format!("127.0.0.1:{port}"), format!("https://127.0.0.1:{port}"));
        let options = [
            "--serve-certificate-dir",
            folder,
            "--webhook-listen",
            &listen,
            "--webhook-url",
            &url,
        ];
        installation.launch(name, &options).await
    };
    let (mut one, mut two) = (start("one").await, start("two").await);
    let mark = installation.plane.audit_mark();

    // Everything that can be wrong with them is told, and it waits.
    let good = issuer.good("good");
    says(&one, "tls.crt in ").await;
    let mixed = issuer.issue("mixed", &issuer.names, "10");
    std::fs::copy(good.join("tls.key"), mixed.join("tls.key")).expect("copied");
    let foreign = other.good("foreign");
    std::fs::copy(good.join("ca.crt"), foreign.join("ca.crt")).expect("copied");
    let short = "DNS:landbridge-operator,IP:127.0.0.1";
    for (files, part) in [
        (
            issuer.issue("short", short, "10"),
            ".svc: the Certificate must have the dnsNames landbridge-operator, ",
        ),
        (
            mixed,
            "tls.key is not the key of the first certificate in tls.crt",
        ),
        (
            issuer.issue("old", &issuer.names, "-1"),
            "the certificate ended at ",
        ),
        (foreign, "ca.crt must be the authority that signed tls.crt"),
    ] {
        issuer.mount(&files);
        says(&one, part).await;
        says(&two, part).await;
    }
    let waits = one.page("/readyz").await.expect("an answer");
    assert_eq!(waits.status, 503);
    assert!(
        waits.text().contains("usable certificate in "),
        "{}",
        waits.text()
    );

    // Both replicas show the mounted one, and nothing is made beside it.
    issuer.mount(&good);
    one.until_listed().await;
    two.until_listed().await;
    for operator in [&one, &two] {
        until_shown(operator, &good).await;
    }
    let client = installation.plane.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), installation.system.name());
    let published = async || {
        let map = maps.get_opt("landbridge-ca").await.expect("an answer");
        map.and_then(|map| map.data?.remove("ca.crt")).unwrap_or_default()
    };
    eventually("the authority is published", async || {
        let known = published().await;
        if known == issuer.authority() {
            Ok(())
        } else {
            Err(known)
        }
    })
    .await;
    let secrets: Api<Secret> = Api::namespaced(client, installation.system.name());
    assert!(
        secrets
            .get_opt("landbridge-operator-tls")
            .await
            .expect("an answer")
            .is_none()
    );
    let proxy = installation.proxy("proxy", &[&one, &two]).await;
    let workspace = installation.workspace("mounted").await;
    workspace.declare_named("erp").await;
    workspace.until_usable("erp").await;

    // Renewed under a connected proxy: it keeps its stream.
    let streams = proxy.streams();
    let renewed = issuer.good("renewed");
    issuer.mount(&renewed);
    for operator in [&one, &two] {
        until_shown(operator, &renewed).await;
    }
    assert!(proxy.is_following());
    assert_eq!(proxy.streams(), streams, "nobody had to connect again");
    workspace.until_usable("erp").await;

    // A mistake later on: what was there stays.
    issuer.mount(&issuer.work.join("old"));
    says(&one, "the certificate ended at ").await;
    until_shown(&one, &renewed).await;

    // Another authority: published at once beside the former one, and its certificate waits for proxies to read that.
    let exchanged = other.good("exchanged");
    issuer.mount(&exchanged);
    eventually("both authorities are published", async || {
        let known = published().await;
        let both = known == format!("{}{}", other.authority(), issuer.authority());
        if both { Ok(()) } else { Err(known) }
    })
    .await;
    until_shown(&one, &renewed).await;
    assert_eq!(proxy.streams(), streams);
    refuses(&installation).await;
    assert_eq!(one.forbidden(&installation.plane, mark), []);
}

/// The webhook shows the same certificate, and the API server trusts it.
async fn refuses(installation: &Installation) {
    let workspace = installation.workspace("refused").await;
    let bad = json!({"apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
        "metadata": {"name": "erp.eu"}, "spec": {"destinationRef": {"name": "erp"}}});
    eventually("the webhook refuses", async || {
        let said = workspace.namespace.apply(&bad.to_string()).await.stderr;
        if said.contains("cannot be the name of a Service") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
}

/// With a clock that can be turned: the switch to another authority.
#[tokio::test]
async fn another_authority_is_shown_when_proxies_had_time_to_know_it() {
    let installation = Installation::new("exchanged").await;
    let (one, two) = (
        Issuer::new(&installation, "one"),
        Issuer::new(&installation, "two"),
    );
    one.mount(&one.good("first"));
    let system = installation.system.name();
    let config = MountedConfig::of(&one.mounted, &CertificateConfig::new(system));
    let leads = watch::Sender::new(Leadership::Leading);
    let readiness = Readiness::new();
    let client = installation.plane.client().await;
    let ready = readiness.token("certificate");
    let (mut replica, certificates) = follower(client, config, leads.subscribe(), ready);
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock");
    let now = i64::try_from(since.as_secs()).expect("a time");
    assert_eq!(readiness.pending(), ["certificate"]);
    assert_eq!(replica.look(now).await.expect("usable"), None);
    assert_eq!(readiness.pending(), [""; 0]);
    let first = certificates.health.borrow().leaf_until;

    let second = two.issue("second", &two.names, "20");
    one.mount(&second);
    for (after, switched) in [(5, false), (100, false), (156, true)] {
        replica.look(now + after).await.expect("usable");
        let until = certificates.health.borrow().leaf_until;
        assert_eq!(until != first, switched, "after {after} s");
    }
    let bundle = String::from_utf8(certificates.bundle.borrow().to_vec()).expect("PEM");
    assert_eq!(
        bundle,
        format!("{}{}", two.authority(), one.authority()),
        "both, for those that are slow"
    );
    // After an hour nobody needs the former one, and it may have been taken out of use for a reason.
    replica.look(now + 5 + 3600).await.expect("usable");
    let maps: Api<ConfigMap> = Api::namespaced(installation.plane.client().await, system);
    let map = maps.get("landbridge-ca").await.expect("the ConfigMap");
    assert_eq!(map.data.expect("data")["ca.crt"], two.authority());
    assert_eq!(map.metadata.annotations, None);
    let warned = replica
        .look(now + 86_400 * 19)
        .await
        .expect("usable")
        .expect("a warning");
    assert!(
        warned.contains("was not renewed") && warned.contains("kubectl describe certificate"),
        "{warned}"
    );
}
