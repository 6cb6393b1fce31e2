use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::*;
use crate::{Archive, Compression};

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program of [`PROBE`], or nothing where there is no Go.
fn built(folder: &Path) -> Option<PathBuf> {
    match probe::program(folder) {
        Ok(program) => Some(program),
        Err(error) if error.is::<MissingGo>() => {
            crate::skipped(&error.to_string());
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `probe serve` or `probe echo` and returns it with its address.
fn serve(program: &Path, command: &str) -> (Server, String) {
    let mut child = Command::new(program)
        .args([command, "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    (Server(child), address)
}

#[test]
fn the_product_has_what_it_needs_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("image.tar");
    let product = Product {
        binary: &std::env::current_exe().unwrap(),
        version: "1.2.3",
        sbom: Some(b"{}"),
        compression: Compression::None,
    };
    product
        .image()
        .unwrap()
        .write("landbridge:1.2.3", &output)
        .unwrap();
    let archive = Archive::open(&output).unwrap();
    let config = archive.config();
    assert_eq!(
        (config.user.as_str(), config.entrypoint.as_slice()),
        ("65532:65532", &["/landbridge".to_owned()][..])
    );
    assert_eq!(config.labels["org.opencontainers.image.version"], "1.2.3");
    let entries = archive.entries().unwrap();
    for path in [
        "/landbridge",
        "/etc/passwd",
        "/usr/share/sbom/landbridge.cdx.json",
    ] {
        assert!(entries.contains_key(path), "{path}: {entries:?}");
    }
    for name in ["landbridge", "kubectl-landbridge"] {
        let link = entries[&format!("/usr/local/bin/{name}")].link.clone();
        assert_eq!(link.as_deref(), Some(Path::new("/landbridge")));
    }
    let programs: Vec<_> = entries
        .iter()
        .filter(|(path, entry)| !entry.folder && entry.mode & 0o111 != 0 && !path.contains("/lib"))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        programs,
        [
            "/landbridge",
            "/usr/local/bin/kubectl-landbridge",
            "/usr/local/bin/landbridge"
        ]
    );
    assert!(
        entries.values().all(|entry| entry.mode & 0o6000 == 0),
        "nobody gains rights: {entries:?}"
    );
}

#[test]
fn the_authorities_are_those_of_the_package_alone() {
    let bundle = String::from_utf8(product::authorities().unwrap()).unwrap();
    let count = |text: &str| bundle.matches(text).count();
    assert!(count("BEGIN CERTIFICATE") > 50, "{}", count("BEGIN CERTIFICATE"));
    assert_eq!(
        count("-----BEGIN CERTIFICATE-----\n"),
        count("-----END CERTIFICATE-----\n")
    );
}

#[test]
fn stripping_twice_is_stripping_once() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let once = strip(&own, folder.path()).unwrap();
    let twice = strip(&once, folder.path()).unwrap();
    assert_eq!(std::fs::read(&once).unwrap(), std::fs::read(&twice).unwrap());
    assert!(std::fs::metadata(&once).unwrap().len() < std::fs::metadata(&own).unwrap().len());
    assert!(run(&once, &["--list"]).status.success());
    let error = strip(Path::new("/etc/passwd"), folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("/etc/passwd"), "{error}");
}

#[test]
fn probe_gets_what_probe_serves() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = built(folder.path()) else {
        return;
    };
    assert_eq!(
        probe::program(folder.path()).unwrap(),
        program,
        "the second time it is there"
    );
    let (_server, address) = serve(&program, "serve");
    let url = format!("http://{address}/a?b=c");
    let output = run(
        &program,
        &[
            "get",
            &url,
            "-H",
            "X-Name: value",
            "-d",
            "hello",
            "--repeat",
            "2",
            "--interval",
            "1ms",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<serde_json::Value> = text(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((lines.len(), &lines[1]["status"]), (2, &serde_json::json!(200)));
    let seen: serde_json::Value = serde_json::from_str(lines[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (
            &seen["method"],
            &seen["path"],
            &seen["body"],
            &seen["headers"]["x-name"]
        ),
        (&"POST".into(), &"/a?b=c".into(), &"hello".into(), &"value".into())
    );
}

#[test]
fn probe_fails_when_the_call_does() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = built(folder.path()) else {
        return;
    };
    let (server, address) = serve(&program, "serve");
    let busy = format!("http://{address}/status/503");
    for (arguments, code) in [
        (&["get", &busy][..], 1),
        (&["get", &busy, "--expect", "503"], 0),
        (&["get", "http://127.0.0.1:1/"], 1),
        (&["tcp", "127.0.0.1:1"], 1),
        (
            &[
                "load",
                "http://127.0.0.1:1/",
                "--seconds",
                "0.1",
                "--interval",
                "1ms",
            ],
            1,
        ),
        (&["dns", "localhost"], 0),
        (&["dns", "no such name"], 1),
        (&["get"], 2),
        (&["got"], 2),
        (&[], 2),
    ] {
        let output = run(&program, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    }
    drop(server);
}

#[test]
fn probe_counts_under_load_and_speaks_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = built(folder.path()) else {
        return;
    };
    let (_server, address) = serve(&program, "serve");
    let url = format!("http://{address}/");
    let output = run(
        &program,
        &["load", &url, "--seconds", "0.3", "--workers", "2", "--fresh"],
    );
    let sum: serde_json::Value = serde_json::from_str(&text(&output)).unwrap();
    assert!(output.status.success() && sum["ok"].as_u64() > Some(0), "{sum}");
    assert_eq!(sum["failed"], 0);
    let (_echo, address) = serve(&program, "echo");
    let output = run(&program, &["tcp", &address, "--send", "ping"]);
    assert!(text(&output).contains(r#""body":"ping""#), "{output:?}");
}

#[test]
fn small_images_hold_one_program() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = built(folder.path()) else {
        return;
    };
    let size = std::fs::metadata(program).unwrap().len();
    for (write, name, entrypoint) in [
        (probe as fn(&Path) -> Result<Written>, PROBE, "/probe"),
        (pause, PAUSE, "/probe pause"),
    ] {
        let written = write(&folder.path().join("image.tar")).unwrap();
        let archive = Archive::open(&written.path).unwrap();
        assert_eq!(
            (archive.name(), archive.config().entrypoint.join(" ").as_str()),
            (name, entrypoint)
        );
        let entries = archive.entries().unwrap();
        assert_eq!(
            entries.keys().collect::<Vec<_>>(),
            ["/probe"],
            "static: no library beside it"
        );
        assert_eq!(entries["/probe"].size, size);
    }
}

/// Says nothing where the clients are not installed: the suites that need them say so.
#[test]
fn clients_find_their_libraries_in_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let written = match clients(&folder.path().join("image.tar")) {
        Ok(written) => written,
        Err(error) => {
            let reason = format!("{error:#}");
            assert!(reason.contains("install the package"), "{reason}");
            crate::skipped(&reason);
            return;
        }
    };
    let archive = Archive::open(&written.path).unwrap();
    let root = folder.path().join("root");
    archive.unpack(&root).unwrap();
    let entries = archive.entries().unwrap();
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let loader = entries.keys().find(|path| path.contains("/ld-linux")).unwrap();
    let libraries = entries.keys().find(|path| path.ends_with("/libc.so.6")).unwrap();
    for (program, arguments, expected) in [
        ("dash", &["-c", "echo one"][..], "one"),
        ("curl", &["--version"], "ldap"),
        ("psql", &["--version"], "psql (PostgreSQL)"),
        ("openssl", &["version"], "OpenSSL"),
        ("tar", &["--version"], "tar"),
    ] {
        let output = Command::new(at(loader))
            .arg("--library-path")
            .arg(at(libraries).parent().unwrap())
            .arg(at(&format!("/usr/bin/{program}")))
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success() && text(&output).contains(expected),
            "{program}: {output:?}"
        );
    }
}
