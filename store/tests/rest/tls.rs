//! The store's own TLS listener: its certificate comes from files and is exchanged when they change.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use landbridge_store::{Config, Store, TlsFiles};
use rcgen::{CertificateParams, KeyPair};
use tokio::process::Command;

use crate::support::{Folder, Server, config};

/// Writes a new self-signed certificate for 127.0.0.1 and its key.
pub(crate) fn new_certificate(folder: &Path) -> TlsFiles {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let files = TlsFiles {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
    };
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    files
}

pub(crate) fn tls_config(folder: &Folder) -> Config {
    Config {
        tls: Some(new_certificate(folder.path())),
        ..config(folder)
    }
}

/// Runs curl, which is not of our making.
pub(crate) async fn curl(ca: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]);
    command.arg(ca).args(arguments).kill_on_drop(true);
    command.output().await.unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn serves_in_tls_only_and_takes_over_new_certificates() {
    let folder = Folder::new();
    let config = tls_config(&folder);
    let files = config.tls.clone().unwrap();
    let server = Server::start_with(folder.clone(), config).await;
    let url = format!("https://{}/token_keys", server.address);
    assert_eq!(server.binding.url.scheme(), "https");
    let answer = curl(&files.certificate, &[&url]).await;
    assert!(text(&answer).contains("\"keys\""), "{}", text(&answer));
    let plain = curl(
        &files.certificate,
        &[&format!("http://{}/token_keys", server.address)],
    )
    .await;
    assert!(!plain.status.success());

    // The key first: for a while the two do not belong together, and the one before stays.
    let old = folder.path().join("old.crt");
    std::fs::copy(&files.certificate, &old).unwrap();
    let next = tempfile::tempdir().unwrap();
    let new = new_certificate(next.path());
    std::fs::copy(&new.key, &files.key).unwrap();
    assert!(curl(&old, &[&url]).await.status.success());
    std::fs::copy(&new.certificate, &files.certificate).unwrap();
    let mut taken = false;
    for _ in 0..120 {
        taken = curl(&new.certificate, &[&url]).await.status.success();
        if taken {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(taken);
    assert!(!curl(&old, &[&url]).await.status.success());
    server.stop().await;
}

#[tokio::test]
async fn says_which_file_is_wrong() {
    let folder = Folder::new();
    let good = new_certificate(folder.path());
    let other = tempfile::tempdir().unwrap();
    let other = new_certificate(other.path());
    let missing = PathBuf::from("/nonexistent/tls.crt");
    for (certificate, key, expected) in [
        (missing, good.key.clone(), "/nonexistent/tls.crt"),
        (good.key.clone(), good.key.clone(), "BEGIN CERTIFICATE"),
        (
            good.certificate.clone(),
            other.key.clone(),
            "do not go with the key",
        ),
    ] {
        let mut config = config(&folder);
        config.tls = Some(TlsFiles { certificate, key });
        let error = Store::bind(config).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
