//! `landbridge demo`, as a newcomer runs it.

use landbridge_tests::process::{Process, command, run};
use landbridge_tests::{PATIENCE, eventually};
use std::process::Stdio;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn check_makes_the_calls_and_says_so() {
    let ended = run(&["demo", "--check"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let last = ended.stdout.lines().last().unwrap();
    let numbers: Vec<usize> = last
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    assert!(
        last.starts_with("demo: ") && numbers.len() == 2 && numbers[0] == numbers[1] && numbers[0] >= 6,
        "{last}"
    );
    for part in [
        "Bearer ...",
        "Basic ...",
        "http://orders/orders",
        "403 Forbidden, as it must",
        "echoed",
    ] {
        assert!(
            ended.stdout.contains(part),
            "{part} is missing in\n{}",
            ended.stdout
        );
    }
}

#[tokio::test]
async fn json_is_for_machines() {
    let ended = run(&["demo", "--check", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    let calls = report["calls"].as_array().unwrap();
    assert_eq!(
        (report["total"].as_u64(), report["ok"].as_u64()),
        (Some(calls.len() as u64), Some(calls.len() as u64))
    );
    for call in calls {
        let received = call["received"].as_str().unwrap();
        let secret = received.rsplit_once("... ").map_or(received, |(_, rest)| rest);
        assert!(
            !secret.contains("eyJ") && received.len() < 120,
            "no whole credential is shown: {received}"
        );
    }
}

#[tokio::test]
async fn stays_up_until_asked_to_stop_and_stops_soon() {
    let mut child = command(&["demo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.contains("Ctrl-C stops it") {
        let length = timeout(PATIENCE, stdout.read(&mut buffer))
            .await
            .expect("it goes on")
            .unwrap();
        assert!(length > 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let address = text
        .split("curl -i http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        landbridge_tests::client::get(address, "/weather").await.status,
        200,
        "it still serves"
    );
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let start = Instant::now();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let status = timeout(PATIENCE, child.wait()).await.expect("it stops").unwrap();
    assert!(status.success(), "{status}");
    // The promise is 2 s on a quiet machine; what must never happen is waiting for a drain deadline (25 s).
    assert!(start.elapsed().as_secs() < 15, "{:?}", start.elapsed());
    eventually("its ports are free again", async || {
        match tokio::net::TcpStream::connect::<std::net::SocketAddr>(address).await {
            Err(_) => Ok(()),
            Ok(_) => Err("still listening".to_owned()),
        }
    })
    .await;
}

#[tokio::test]
async fn crds_prints_what_kubectl_takes() {
    let ended = run(&["crds"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("name: destinations.destination.connectivity.api.sap"),
        "{}",
        ended.stdout
    );
}

/// Keeps the harness honest: a process that fails to start is seen.
#[tokio::test]
async fn a_wrong_command_ends_with_usage() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut process = Process::start(&["no-such-command"], &folder.path().join("log"));
    assert_eq!(process.wait().await.code(), Some(64));
    assert!(process.log().contains("no-such-command"), "{}", process.log());
}
