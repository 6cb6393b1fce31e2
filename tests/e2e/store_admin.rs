//! `landbridge store`: what administers it, beside a running store and without one.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use landbridge_tests::eventually;
use landbridge_tests::process::{Ended, Process, binary, run};
use serde_json::{Value, json};
use tempfile::TempDir;

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

async fn serve(folder: &TempDir, more: &[&str]) -> (Process, String) {
    let (data, ready) = (path(folder, "data"), path(folder, "ready.json"));
    let _ = std::fs::remove_file(&ready);
    let mut arguments = vec![
        "store",
        "serve",
        "--data-dir",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--ready-file",
        &ready,
    ];
    arguments.extend(more);
    let mut process = Process::start(&arguments, Path::new(&path(folder, "store.log")));
    let ready: Value = eventually("the store is ready", async || {
        if let Some(status) = process.ended() {
            return Err(format!("it ended with {status}: {}", process.log()));
        }
        let text = std::fs::read_to_string(&ready).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    })
    .await;
    (process, ready["store"].as_str().unwrap().to_owned())
}

/// `landbridge store <arguments> --data-dir <folder>/data`.
async fn store(folder: &TempDir, arguments: &[&str]) -> Ended {
    let data = path(folder, "data");
    run(&[&["store"], arguments, &["--data-dir", &data]].concat()).await
}

async fn good(folder: &TempDir, arguments: &[&str]) -> String {
    let ended = store(folder, arguments).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.stdout
}

async fn json_of(folder: &TempDir, arguments: &[&str]) -> Value {
    let text = good(folder, &[arguments, &["-o", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap()
}

async fn refused(folder: &TempDir, arguments: &[&str], why: &str) {
    let ended = store(folder, arguments).await;
    assert!(
        ended.code == Some(1) && ended.stderr.contains(why),
        "{arguments:?}: {ended:?}"
    );
}

/// The commands that the help names lead to an answer, exactly as they are written.
#[tokio::test]
async fn the_help_leads_from_nothing_to_an_answer() {
    let folder = TempDir::new().unwrap();
    let help = run(&["store", "--help"]).await;
    assert_eq!(help.code, Some(0));
    let (_, steps) = help
        .stdout
        .split_once("From nothing to a first answer:")
        .expect("steps");
    let (steps, _) = steps.split_once("Commands that administer").expect("their end");
    let (serve_line, rest) = steps
        .trim_start()
        .split_once('\n')
        .expect("the store is started first");
    assert_eq!(serve_line.trim(), "landbridge store serve &");
    let (_process, url) = serve(&folder, &[]).await;
    // The store of a test has any free port, which the usual address does not know.
    let rest = rest.replace("--subaccount shop >", &format!("--subaccount shop --url {url} >"));
    let script = format!(
        "set -eu\nlandbridge() {{ '{}' \"$@\"; }}\n{rest}",
        binary().display()
    );
    let output = tokio::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("LANDBRIDGE_DATA_DIR", path(&folder, "data"))
        .output()
        .await
        .unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{script}\n{out}\n{error}");
    let answer = out.lines().last().unwrap_or_default();
    let answer: Value = serde_json::from_str(answer).unwrap_or_else(|_| panic!("{out}\n{error}"));
    assert_eq!(answer["destinationConfiguration"]["Name"], "erp");
}

#[tokio::test]
async fn tenants_are_administered_beside_a_running_store() {
    let folder = TempDir::new().unwrap();
    let (_process, url) = serve(&folder, &[]).await;
    let shop = json_of(&folder, &["subaccount", "create", "shop"]).await;
    good(&folder, &["subaccount", "create", "branch", "--id", "b1"]).await;
    let listed = good(&folder, &["subaccount", "list"]).await;
    assert!(
        listed.contains(shop["id"].as_str().unwrap()) && listed.contains("b1"),
        "{listed}"
    );
    refused(&folder, &["subaccount", "create", "shop"], "exists already").await;

    let config = path(&folder, "config.json");
    let destination = json!({"Name": "own", "Type": "HTTP", "URL": "http://own", "ProxyType": "Internet", "Authentication": "NoAuthentication"});
    std::fs::write(
        &config,
        json!({"init_data": {"instance": {"destinations": [destination]}}}).to_string(),
    )
    .unwrap();
    let create = ["instance", "create", "main", "--subaccount", "shop"];
    json_of(&folder, &[&create[..], &["--config", &config]].concat()).await;
    let update = ["instance", "update", "main", "--subaccount", "shop"];
    refused(
        &folder,
        &[&update[..], &["--config", &config]].concat(),
        "Will delete all on instance level",
    )
    .await;

    let of = ["--subaccount", "shop", "--instance", "main"];
    let key = good(
        &folder,
        &[&["key", "create", "k", "--read-only", "--url", &url][..], &of[..]].concat(),
    )
    .await;
    let key: Value = serde_json::from_str(&key).unwrap();
    for entry in [
        "clientid",
        "clientsecret",
        "url",
        "uri",
        "uaadomain",
        "xsappname",
        "identityzone",
        "tenantid",
        "instanceid",
        "credential-type",
    ] {
        assert!(key[entry].is_string(), "{entry}: {key}");
    }
    let x509 = ["key", "create", "c", "--x509", "--days", "7"];
    let made: Value = serde_json::from_str(&good(&folder, &[&x509[..], &of[..]].concat()).await).unwrap();
    assert_eq!(made["credential-type"], "x509");
    refused(
        &folder,
        &[&["key", "create", "r", "--role", "root"][..], &of[..]].concat(),
        "use one of Destination-Administrator",
    )
    .await;
    let keys = json_of(&folder, &[&["key", "list"][..], &of[..]].concat()).await;
    assert_eq!(keys.as_array().unwrap().len(), 2);
    assert!(!keys.to_string().contains(key["clientsecret"].as_str().unwrap()));

    good(
        &folder,
        &[&["subscription", "create", "branch"][..], &of[..]].concat(),
    )
    .await;
    let subscribers = json_of(&folder, &[&["subscription", "list"][..], &of[..]].concat()).await;
    assert_eq!(subscribers[0]["subdomain"], "branch");
    good(
        &folder,
        &[&["subscription", "delete", "branch"][..], &of[..]].concat(),
    )
    .await;
    let issuer = path(&folder, "issuer.json");
    let trusted = json!({"name": "idp", "issuer": "https://idp.example", "audiences": ["store"], "client_id": "c", "client_secret": "very-secret"});
    std::fs::write(&issuer, trusted.to_string()).unwrap();
    good(&folder, &["issuer", "trust", &issuer, "--subaccount", "shop"]).await;
    let issuers = json_of(&folder, &["issuer", "list", "--subaccount", "shop"]).await;
    assert_eq!(issuers[0]["name"], "idp");
    assert!(!issuers.to_string().contains("very-secret"), "{issuers}");

    good(&folder, &["key", "delete", key["clientid"].as_str().unwrap()]).await;
    refused(&folder, &["subaccount", "delete", "shop"], "--with-content").await;
    good(&folder, &["subaccount", "delete", "shop", "--with-content"]).await;
    let left = json_of(&folder, &["subaccount", "list"]).await;
    assert_eq!(left.as_array().unwrap().len(), 1);
    refused(
        &folder,
        &["subaccount", "list", "--database-url", "postgres://u:secret@h/d"],
        "--database-url-file",
    )
    .await;
}

#[tokio::test]
async fn a_bootstrap_file_is_applied_before_the_store_is_ready() {
    let folder = TempDir::new().unwrap();
    let file = path(&folder, "bootstrap.yaml");
    std::fs::write(&file, "subaccounts:\n- subdomain: shop\n  instances:\n  - {name: main, keys: [{name: k, file: k.json}]}\n  destinations: [d.json]\n").unwrap();
    std::fs::write(
        path(&folder, "d.json"),
        r#"{"Name": "erp", "Type": "HTTP", "URL": "http://erp", "ProxyType": "Internet", "Authentication": "NoAuthentication"}"#,
    )
    .unwrap();
    let (_process, _) = serve(&folder, &["--bootstrap", &file]).await;
    let key = path(&folder, "k.json");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let listed = run(&["store", "list", "--binding", &key]).await;
    assert_eq!(listed.stdout.trim(), "erp", "{listed:?}");
    std::fs::write(&file, "subaccounts: [{subdomain: shop, instanzes: []}]").unwrap();
    let other = TempDir::new().unwrap();
    refused(
        &other,
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--bootstrap",
            &file,
        ],
        "instanzes",
    )
    .await;
}

#[tokio::test]
async fn the_key_is_exchanged_and_backups_are_taken_beside_a_running_store() {
    let folder = TempDir::new().unwrap();
    let (mut process, url) = serve(&folder, &[]).await;
    let key = path(&folder, "key.json");
    let made = store(&folder, &["create-key", "--url", &url]).await;
    std::fs::write(&key, &made.stdout).unwrap();
    let put = async |name: &str| {
        let file = path(&folder, "d.json");
        let destination = json!({"Name": name, "Type": "HTTP", "URL": "http://h", "ProxyType": "Internet", "Authentication": "NoAuthentication"});
        std::fs::write(&file, destination.to_string()).unwrap();
        let ended = run(&["store", "put", "--binding", &key, &file]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    };
    put("before").await;
    let old = path(&folder, "old.backup");
    good(&folder, &["backup", "--output", &old]).await;
    // The running store learns of the new key by itself.
    let rotated = good(&folder, &["rotate-key", "--drop-old"]).await;
    assert!(rotated.contains("everything is encrypted with key"), "{rotated}");
    put("after").await;
    let listed = run(&["store", "list", "--binding", &key]).await;
    assert_eq!(
        listed.stdout.lines().collect::<Vec<_>>(),
        ["after", "before"],
        "{listed:?}"
    );
    let new = path(&folder, "new.backup");
    let told = good(&folder, &["backup", "--output", &new]).await;
    assert!(told.contains("2 items"), "{told}");
    good(&folder, &["verify-backup", &new]).await;
    refused(&folder, &["verify-backup", &old], "another key").await;
    let aside = std::fs::read_dir(folder.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("store.key.old-"))
        .expect("the old key is kept");
    good(
        &folder,
        &["verify-backup", &old, "--key-file", aside.to_str().unwrap()],
    )
    .await;
    refused(&folder, &["restore", &new], "not empty").await;
    process.kill().await;

    let other = TempDir::new().unwrap();
    std::fs::create_dir(path(&other, "data")).unwrap();
    std::fs::copy(
        folder.path().join("data/store.key"),
        other.path().join("data/store.key"),
    )
    .unwrap();
    let mut damaged = std::fs::read(&new).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(path(&other, "damaged"), damaged).unwrap();
    refused(&other, &["restore", &path(&other, "damaged")], "is damaged").await;
    good(&other, &["restore", &new]).await;
    let (_process, url) = serve(&other, &[]).await;
    let mut binding: Value = serde_json::from_str(&std::fs::read_to_string(&key).unwrap()).unwrap();
    (binding["url"], binding["uri"]) = (url.clone().into(), url.into());
    std::fs::write(&key, binding.to_string()).unwrap();
    let listed = run(&["store", "list", "--binding", &key]).await;
    assert_eq!(listed.stdout.lines().count(), 2, "{listed:?}");
}
