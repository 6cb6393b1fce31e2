//! The store as a process of its own: killed while it writes, away while the proxy works.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use landbridge_tests::eventually;
use landbridge_tests::process::{Process, run};
use landbridge_tests::standalone::manifest;
use serde_json::{Value, json};
use tempfile::TempDir;

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

async fn start(folder: &TempDir, listen: &str) -> (Process, String) {
    let (data, ready) = (path(folder, "data"), path(folder, "ready.json"));
    let _ = std::fs::remove_file(&ready);
    let arguments = [
        "store",
        "serve",
        "--data-dir",
        &data,
        "--listen",
        listen,
        "--admin-listen",
        "127.0.0.1:0",
        "--ready-file",
        &ready,
    ];
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

async fn client(folder: &TempDir, url: &str) -> StoreClient {
    let ended = run(&[
        "store",
        "create-key",
        "--data-dir",
        &path(folder, "data"),
        "--url",
        url,
    ])
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
    StoreClient::new(Binding::from_json(&ended.stdout).unwrap(), http)
}

#[tokio::test]
async fn killed_while_writing_it_has_all_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let (mut process, url) = start(&folder, "127.0.0.1:0").await;
    let store = client(&folder, &url).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = {
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            for index in 0.. {
                let destination = json!({"Name": format!("d{index}"), "Type": "HTTP", "URL": "http://h", "ProxyType": "Internet",
                    "Authentication": "BasicAuthentication", "User": "u", "Password": "top-secret-password"});
                if store
                    .create(&serde_json::from_value(destination).unwrap())
                    .await
                    .is_err()
                {
                    return;
                }
                acknowledged.store(index + 1, Ordering::SeqCst);
            }
        })
    };
    eventually("some writes", async || {
        let count = acknowledged.load(Ordering::SeqCst);
        if count >= 30 {
            Ok(())
        } else {
            Err(count.to_string())
        }
    })
    .await;
    process.kill().await;
    writer.await.unwrap();
    let promised = acknowledged.load(Ordering::SeqCst);

    for file in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            let bytes = std::fs::read(&file).unwrap();
            let found = bytes.windows(19).any(|window| window == b"top-secret-password");
            assert!(!found, "{} has a password in the clear", file.display());
        }
    }
    let (_process, url) = start(&folder, "127.0.0.1:0").await;
    let store = client(&folder, &url).await;
    let names: std::collections::HashSet<String> = store
        .list()
        .await
        .unwrap()
        .iter()
        .map(|d| d.name().to_owned())
        .collect();
    for index in 0..promised {
        assert!(
            names.contains(&format!("d{index}")),
            "d{index} was acknowledged ({} there)",
            names.len()
        );
    }
}

#[tokio::test]
async fn the_proxy_goes_on_while_the_store_is_away() {
    let folder = TempDir::new().unwrap();
    let (mut process, url) = start(&folder, "127.0.0.1:0").await;
    let ended = run(&[
        "store",
        "create-key",
        "--data-dir",
        &path(&folder, "data"),
        "--url",
        &url,
    ])
    .await;
    std::fs::write(path(&folder, "binding.json"), &ended.stdout).unwrap();
    let target = landbridge_tests::target::mirror().await;
    let file = path(&folder, "d.json");
    let destination = json!({"Name": "mirror", "Type": "HTTP", "URL": format!("http://{target}"), "ProxyType": "Internet", "Authentication": "NoAuthentication"});
    std::fs::write(&file, destination.to_string()).unwrap();
    let ended = run(&["store", "put", "--binding", &path(&folder, "binding.json"), &file]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let listed = run(&["store", "list", "--binding", &path(&folder, "binding.json")]).await;
    assert_eq!(listed.stdout.trim(), "mirror");

    std::fs::create_dir(path(&folder, "manifests")).unwrap();
    let manifest = manifest("mirror", "mirror");
    std::fs::write(folder.path().join("manifests/mirror.yaml"), manifest).unwrap();
    let (proxy_ready, proxy_data) = (path(&folder, "proxy-ready.json"), path(&folder, "proxy-data"));
    let arguments = [
        "standalone",
        "--manifests",
        &path(&folder, "manifests"),
        "--store",
        &url,
        "--binding",
        &path(&folder, "binding.json"),
        "--data-dir",
        &proxy_data,
        "--ready-file",
        &proxy_ready,
        "--admin-listen",
        "127.0.0.1:0",
        "--tunnel-listen",
        "off",
        "--ports",
        "0",
        "--destination-ttl",
        "1",
        "--allow-local-targets",
    ];
    let _proxy = Process::start(&arguments, Path::new(&path(&folder, "proxy.log")));
    let admin: std::net::SocketAddr = eventually("the proxy is ready", async || {
        let text = std::fs::read_to_string(&proxy_ready).map_err(|error| error.to_string())?;
        let ready: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        ready["admin"]
            .as_str()
            .ok_or("no admin")?
            .parse()
            .map_err(|_| "no address".to_owned())
    })
    .await;
    let address: std::net::SocketAddr = eventually("the destination is served", async || {
        let answer = landbridge_tests::client::try_send(
            admin,
            landbridge_tests::client::request("GET", "/destinations", &[], ""),
        )
        .await?;
        let status = answer.json()["destinations"][0].clone();
        if status["ready"] != "True" {
            return Err(status.to_string());
        }
        status["address"]
            .as_str()
            .ok_or("no address")?
            .parse()
            .map_err(|_| "no address".to_owned())
    })
    .await;
    assert_eq!(landbridge_tests::client::get(address, "/").await.status, 200);
    process.kill().await;
    // Longer than an answer is fresh: it is renewed in vain and used on.
    for _ in 0..30 {
        assert_eq!(landbridge_tests::client::get(address, "/").await.status, 200);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_said() {
    let folder = TempDir::new().unwrap();
    let (mut process, _) = start(&folder, "127.0.0.1:0").await;
    process.kill().await;
    let key = std::fs::read_dir(folder.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "key"))
        .expect("the key file");
    let content = std::fs::read_to_string(&key).unwrap();
    let other: String = content
        .chars()
        .map(|c| {
            if c == 'A' {
                'B'
            } else if c == 'B' {
                'A'
            } else if c == 'a' {
                'b'
            } else if c == '1' {
                '2'
            } else if c == '2' {
                '1'
            } else {
                c
            }
        })
        .collect();
    std::fs::write(&key, other).unwrap();
    let data = path(&folder, "data");
    let ended = run(&[
        "store",
        "serve",
        "--data-dir",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ])
    .await;
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("key"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_running_process_logs_more_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, url) = start(&folder, "127.0.0.1:0").await;
    let ready: Value =
        serde_json::from_str(&std::fs::read_to_string(path(&folder, "ready.json")).unwrap()).unwrap();
    let admin = format!("http://{}", ready["admin"].as_str().unwrap());
    let wrong = run(&["log-level", "a=b=c", "--admin", &admin]).await;
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stderr.contains("log filter 'a=b=c'"), "{wrong:?}");
    assert!(!process.log().contains("DEBUG"), "{}", process.log());
    let changed = run(&["log-level", "debug", "--admin", &admin]).await;
    assert_eq!(changed.code, Some(0), "{changed:?}");
    let client = client(&folder, &url).await;
    let _ = client.delete("nothing").await;
    eventually("the log has more", async || {
        if process.log().contains("DEBUG") {
            Ok(())
        } else {
            Err(process.log())
        }
    })
    .await;
    assert!(process.ended().is_none());
}

/// An installer makes one key for the store and its clients, and replaces its secret while both run.
#[tokio::test]
async fn a_service_key_from_a_file_is_valid_and_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let (data, ready, file) = (
        path(&folder, "data"),
        path(&folder, "ready.json"),
        path(&folder, "key.json"),
    );
    let key = |secret: &str, url: &str| json!({"clientid": "installer", "clientsecret": secret, "url": url, "uri": url, "identityzone": "shop"});
    let write = |key: &Value| std::fs::write(&file, key.to_string()).unwrap();
    let long = |letter: &str| letter.repeat(40);
    let serve = |listen: &str| {
        [
            "store",
            "serve",
            "--data-dir",
            &data,
            "--listen",
            listen,
            "--admin-listen",
            "127.0.0.1:0",
            "--ready-file",
            &ready,
            "--service-key",
            &file,
        ]
        .map(str::to_owned)
    };
    for (bad, why) in [
        (key("short", "http://h"), "too short; use 32 random characters"),
        (json!({"clientid": "installer"}), "is no service key"),
    ] {
        write(&bad);
        let arguments = serve("127.0.0.1:0");
        let ended = run(&arguments.each_ref().map(String::as_str)).await;
        assert!(ended.code == Some(1) && ended.stderr.contains(why), "{ended:?}");
    }

    write(&key(&long("a"), "http://h"));
    let arguments = serve("127.0.0.1:0");
    let mut process = Process::start(
        &arguments.each_ref().map(String::as_str),
        Path::new(&path(&folder, "store.log")),
    );
    let url = eventually("the store is ready", async || {
        assert!(process.ended().is_none(), "{}", process.log());
        let text = std::fs::read_to_string(&ready).map_err(|error| error.to_string())?;
        let ready: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(ready["store"].as_str().unwrap().to_owned())
    })
    .await;
    let client = |secret: &str| {
        let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
        StoreClient::new(Binding::from_json(&key(secret, &url).to_string()).unwrap(), http)
    };
    let destination = json!({"Name": "erp", "Type": "HTTP", "URL": "http://erp", "ProxyType": "Internet", "Authentication": "NoAuthentication"});
    client(&long("a"))
        .put(&serde_json::from_value(destination).unwrap())
        .await
        .unwrap();
    assert!(client(&long("b")).list().await.is_err());

    write(&key(&long("b"), &url));
    eventually("the new secret is valid", async || {
        client(&long("b")).list().await.map_err(|error| error.to_string())
    })
    .await;
    assert!(
        client(&long("a")).list().await.is_err(),
        "the old one is not any more"
    );
    // A file that cannot be used changes nothing.
    write(&json!({"clientid": "installer"}));
    eventually("it is told", async || {
        if process.log().contains("the key before stays valid") {
            Ok(())
        } else {
            Err(process.log())
        }
    })
    .await;
    assert_eq!(client(&long("b")).list().await.unwrap().len(), 1);

    // What the client has to put may come through standard input, as it does into a container.
    write(&key(&long("b"), &url));
    let mut put = landbridge_tests::process::command(&["store", "put", "--binding", &file, "-"]);
    let mut child = put.stdin(std::process::Stdio::piped()).spawn().unwrap();
    use tokio::io::AsyncWriteExt as _;
    let hr = json!([{"Name": "hr", "Type": "HTTP", "URL": "http://hr", "ProxyType": "Internet", "Authentication": "NoAuthentication"}]).to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(hr.as_bytes())
        .await
        .unwrap();
    assert!(child.wait().await.unwrap().success());
    assert_eq!(client(&long("b")).list().await.unwrap().len(), 2);
}
