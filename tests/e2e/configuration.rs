//! Wrong configuration: every mistake in one run, exit 64; ports in use name their setting.

use landbridge_tests::process::run;
use tempfile::TempDir;
use tokio::net::TcpListener;

#[tokio::test]
async fn standalone_lists_every_mistake() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let ended = run(&[
        "standalone",
        "--manifests",
        "/nonexistent/manifests",
        "--store",
        "ftp://nowhere",
        "--ports",
        "300-200",
        "--tunnel-listen",
        "here",
        "--additional-ca",
        "/nonexistent/ca.pem",
        "--data-dir",
        data.to_str().unwrap(),
    ])
    .await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for part in [
        "--manifests",
        "--store",
        "--ports",
        "--tunnel-listen",
        "--additional-ca",
        "5 configuration mistakes",
    ] {
        assert!(
            ended.stderr.contains(part),
            "{part} is missing in {}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn connector_lists_every_mistake_with_its_place() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("connector.toml");
    std::fs::write(
        &config,
        "[[tunnels]]\nserver = \"no-port\"\nidentity_dir = \"x\"\n\n[[mappings]]\nvirtual_host = \"a b\"\nvirtual_port = 0\n\
         internal_host = \"h\"\ninternal_port = 1\nprotocol = \"HTTP\"\n",
    )
    .unwrap();
    let ended = run(&["connector", "run", "--config", config.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for part in ["server", "virtual_host", "virtual_port"] {
        assert!(
            ended.stderr.contains(part),
            "{part} is missing in {}",
            ended.stderr
        );
    }
    let missing = run(&["connector", "run", "--config", "/nonexistent/connector.toml"]).await;
    assert_eq!(missing.code, Some(64));
    assert!(
        missing.stderr.contains("/nonexistent/connector.toml"),
        "{}",
        missing.stderr
    );
}

#[tokio::test]
async fn a_port_in_use_names_its_setting() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let manifests = folder.path().to_str().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let free = "127.0.0.1:0";
    for (setting, store, admin, tunnel) in [
        ("--store-listen", address.as_str(), free, "off"),
        ("--admin-listen", free, &address, "off"),
        ("--tunnel-listen", free, free, &address),
    ] {
        let ended = run(&[
            "standalone",
            "--manifests",
            manifests,
            "--data-dir",
            data,
            "--store-listen",
            store,
            "--admin-listen",
            admin,
            "--tunnel-listen",
            tunnel,
            "--ports",
            "0",
        ])
        .await;
        assert_ne!(ended.code, Some(0), "{setting}");
        let told = ended.stderr.contains(setting)
            && ended.stderr.contains("in use")
            && ended.stderr.contains(&address);
        assert!(told, "{setting}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn a_used_or_foreign_token_enrols_nobody() {
    let standalone = landbridge_tests::standalone::Standalone::start(&[]).await;
    let mapping =
        super::on_premise::mapping(landbridge_tests::target::mirror().await, super::on_premise::ALL);
    let _first = standalone.connector("first", &mapping).await;
    // The same token again, for a connector without an identity.
    let token = standalone.path("token-first");
    let config = standalone.path("thief.toml");
    let text = format!(
        "[[tunnels]]\nserver = \"localhost:{}\"\nidentity_dir = \"{}\"\nenrolment_token_file = \"{}\"\n\n{mapping}",
        standalone.tunnel().port(),
        standalone.path("identity-thief").display(),
        token.display()
    );
    std::fs::write(&config, text).unwrap();
    let ended = run(&["connector", "run", "--config", config.to_str().unwrap()]).await;
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stderr.contains("refused") || ended.stderr.contains("token"),
        "{}",
        ended.stderr
    );
    assert!(!standalone.path("identity-thief").join("connector.key").exists() || !ended.stderr.is_empty());
    let log = standalone.process.log();
    assert!(log.contains("enrol"), "the refusal is logged: {log}");
}
