use clap::Parser as _;

use super::*;
use crate::args::{Cli, Command};
use crate::redirect::args::RedirectCommand;

fn arguments(line: &str) -> ApplyArgs {
    let words = ["landbridge", "redirect", "apply"]
        .into_iter()
        .chain(line.split_ascii_whitespace());
    match Cli::try_parse_from(words).unwrap().command {
        Command::Redirect(RedirectCommand::Apply(args)) => *args,
        other => panic!("{other:?}"),
    }
}

fn problems(line: &str) -> String {
    apply(&arguments(line)).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_is_given_is_what_is_redirected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list");
    std::fs::write(&file, "# frontends\n10.96.0.2:80\n").unwrap();
    let line = format!(
        "--mode sidecar --port 1234 --proxy-uid 2102 --network 10.0.0.0/8 --network 10.0.0.0/8 --destination 10.96.0.1:80,[fd00::1]:443 --destinations-file {}",
        file.display()
    );
    let (settings, destinations, operator) = apply(&arguments(&line)).unwrap();
    assert_eq!(settings.port, 1234);
    let Mode::Sidecar { proxy_uid, networks } = settings.mode else {
        panic!("{settings:?}")
    };
    assert_eq!((proxy_uid, networks.len()), (Some(2102), 1));
    assert_eq!(destinations.len(), 3);
    assert!(operator.is_none());

    let (settings, ..) = apply(&arguments("--mode node")).unwrap();
    assert_eq!(settings, Settings::node());
}

#[test]
fn every_mistake_is_told_at_once() {
    let told = problems(
        "--mode sidecar --proxy-uid 0 --network 10.0.0.1/8 --destination erp:80 --destination 127.0.0.1:80 --destinations-file /nonexistent --operator http://operator",
    );
    for part in [
        "7 configuration mistakes",
        "--network: '10.0.0.1/8' has bits behind its length; write 10.0.0.0/8",
        "--proxy-uid: the proxy's user 0",
        "names are not looked up",
        "this machine itself",
        "--destinations-file: cannot read /nonexistent",
        "--operator: \"http://operator\" is no https://HOST:PORT",
        "--operator-ca: is missing",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let told = problems("--mode node --proxy-uid 1 --network 10.0.0.0/8");
    assert!(
        told.contains("--proxy-uid: is for mode sidecar") && told.contains("--network: is for"),
        "{told}"
    );
}

#[test]
fn wrong_lines_are_told_with_their_numbers_twenty_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list");
    std::fs::write(&file, "x\n".repeat(100)).unwrap();
    let told = problems(&format!("--mode node --destinations-file {}", file.display()));
    assert!(
        told.starts_with("20 configuration mistakes") && told.contains("line 20: 'x'"),
        "{told}"
    );
}

#[test]
fn the_operator_is_named_with_its_authority() {
    let line = "--mode sidecar --operator https://operator.system.svc:8443 --operator-ca /etc/ca.crt --token-file /t";
    let (.., operator) = apply(&arguments(line)).unwrap();
    let operator = operator.unwrap();
    assert_eq!(
        (operator.host.as_str(), operator.port),
        ("operator.system.svc", 8443)
    );
    assert!(matches!(operator.authority, control::Authority::File(file) if file.ends_with("ca.crt")));
    let mut by_text = arguments("--mode sidecar --operator https://operator:8443");
    by_text.link.operator_ca_pem = Some("-----BEGIN CERTIFICATE-----".to_owned());
    let (.., operator) = apply(&by_text).unwrap();
    assert!(matches!(operator.unwrap().authority, control::Authority::Pem(_)));
}

#[test]
fn wrong_words_are_wrong_command_lines() {
    for line in [
        "--mode gateway",
        "--mode sidecar --port 0",
        "--mode sidecar --port 65536",
        "--mode sidecar --proxy-uid root",
        "",
    ] {
        let words = ["landbridge", "redirect", "plan"]
            .into_iter()
            .chain(line.split_ascii_whitespace());
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
}
