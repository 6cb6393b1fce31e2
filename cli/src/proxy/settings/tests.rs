//! Wrong command lines.

use super::*;
use crate::args::{Cli, Command};
use clap::Parser as _;

fn check(arguments: &[&str]) -> Result<Settings, String> {
    let line = ["landbridge", "proxy"].iter().chain(arguments);
    let Command::Proxy(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!("another command");
    };
    Settings::check(&args).map_err(|error| error.to_string())
}

#[test]
fn every_mistake_is_told_at_once() {
    let error = check(&[
        "--operator",
        "operator:8443",
        "--operator-ca",
        "/missing/ca.crt",
        "--token-file",
        "/nonexistent/token",
        "--state-file",
        "/nonexistent/state.json",
        "--destination-service",
        "nameless",
        "--destination-service",
        "two=/nonexistent/key.json",
        "--default-instance",
        "three",
        "--tunnel-listen",
        "everywhere",
        "--additional-ca",
        "/nonexistent/roots.pem",
    ])
    .err()
    .unwrap();
    for part in [
        "\"operator:8443\"",
        "/missing is no folder",
        "/nonexistent/token",
        "/nonexistent is no folder",
        "\"nameless\"",
        "/nonexistent/key.json",
        "three is none of",
        "'everywhere'",
        "/nonexistent/roots.pem",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn the_first_instance_is_the_default_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, token) = (file("ca.crt", "x"), file("token", "x"));
    let key = file(
        "key.json",
        r#"{"clientid":"id","clientsecret":"s","url":"http://h","uri":"http://h"}"#,
    );
    let (one, two) = (format!("one={key}"), format!("two={key}"));
    let mut arguments = vec![
        "--operator",
        "https://operator:8443",
        "--operator-ca",
        &ca,
        "--token-file",
        &token,
    ];
    let error = check(&arguments).err().unwrap();
    assert!(
        error.contains("--destination-service") && error.contains("is missing"),
        "{error}"
    );
    arguments.extend(["--destination-service", &one, "--destination-service", &two]);
    let settings = check(&arguments).unwrap();
    assert_eq!(
        (settings.default_instance.as_str(), settings.instances.len()),
        ("one", 2)
    );
    assert!(settings.acceptor().is_none());
    arguments.extend(["--default-instance", "two"]);
    assert_eq!(check(&arguments).unwrap().default_instance, "two");
    arguments.extend(["--destination-service", &one]);
    assert!(check(&arguments).err().unwrap().contains("one is given twice"));
}

/// Options that every mode needs, with a key of a store in `folder`.
fn common(folder: &std::path::Path) -> Vec<String> {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, token) = (file("ca.crt", "x"), file("token", "x"));
    let key = r#"{"clientid":"id","clientsecret":"s","url":"http://h","uri":"http://h"}"#;
    file("key.json", key);
    let options = [
        "--operator",
        "https://operator:8443",
        "--operator-ca",
        &ca,
        "--token-file",
        &token,
    ];
    options.map(str::to_owned).to_vec()
}

#[test]
fn each_mode_has_its_own_options() {
    let folder = tempfile::tempdir().unwrap();
    let common = common(folder.path());
    let key = format!("default={}", folder.path().join("key.json").display());
    let stores = ["--destination-service", key.as_str()];
    let checked = |more: &[&str]| {
        let arguments: Vec<&str> = common
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        check(&arguments).map(|settings| settings.mode)
    };
    let gateway = ["--gateway", "landbridge-proxy.system.svc:8444"];
    let port = landbridge_redirect::INTERCEPT_PORT;
    for (more, expected) in [
        (stores.to_vec(), Ok(Mode::Gateway { resolve: None })),
        (
            [&stores[..], &["--resolve-listen", "0.0.0.0:8444"]].concat(),
            Ok(Mode::Gateway {
                resolve: Some("0.0.0.0:8444".parse().unwrap()),
            }),
        ),
        (
            [&stores[..], &["--mode", "node", "--intercept-port", "7"]].concat(),
            Ok(Mode::Node { port: 7 }),
        ),
        (
            [&["--mode", "sidecar"][..], &gateway].concat(),
            Ok(Mode::Sidecar {
                port,
                gateway: ("landbridge-proxy.system.svc".to_owned(), 8444),
            }),
        ),
        (vec!["--mode", "sidecar"], Err("--gateway: is missing")),
        (
            vec!["--mode", "sidecar", "--gateway", "nowhere"],
            Err("\"nowhere\" is no HOST:PORT"),
        ),
        (
            [&["--mode", "sidecar"][..], &gateway, &stores].concat(),
            Err("no credential of a store belongs into an application's pod"),
        ),
        (
            [
                &stores[..],
                &["--mode", "node", "--tunnel-listen", "0.0.0.0:8042"],
            ]
            .concat(),
            Err("--tunnel-listen: is for gateways only"),
        ),
        (
            [
                &stores[..],
                &["--mode", "node", "--resolve-listen", "0.0.0.0:8444"],
            ]
            .concat(),
            Err("--resolve-listen: is for gateways only"),
        ),
        (
            [&stores[..], &["--resolve-listen", "everywhere"]].concat(),
            Err("'everywhere' is neither"),
        ),
    ] {
        match (checked(&more), expected) {
            (Ok(mode), Ok(expected)) => assert_eq!(mode, expected, "{more:?}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{part} in {error}"),
            (found, expected) => panic!("{more:?}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn the_authority_may_be_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let common = common(folder.path());
    let arguments: Vec<&str> = common
        .iter()
        .map(String::as_str)
        .filter(|text| !text.contains("ca"))
        .collect();
    let gateway = ["--mode", "sidecar", "--gateway", "gateway:8444"];
    let arguments = [&arguments[..], &gateway, &["--operator-ca-pem", "PEM"]].concat();
    let settings = check(&arguments).unwrap();
    assert!(matches!(settings.control.authority, control::Authority::Pem(text) if &*text == "PEM"));
}
