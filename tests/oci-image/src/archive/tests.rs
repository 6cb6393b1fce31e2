use super::*;
use crate::unpack::Archive;

fn image(compression: Compression) -> Image {
    let mut lower = Layer::new();
    lower
        .executable("/test", &std::env::current_exe().unwrap())
        .unwrap();
    let mut upper = Layer::new();
    upper
        .bytes("/etc/passwd", 0o644, "nonroot:x:65532:65532::/:/sbin/nologin\n")
        .unwrap();
    upper.link("/usr/local/bin/test", "/test").unwrap();
    Image {
        layers: vec![lower, upper],
        config: Config {
            user: "65532:65532".to_owned(),
            entrypoint: vec!["/test".to_owned()],
            labels: (0..9)
                .map(|number| (format!("label.{number}"), "x".to_owned()))
                .collect(),
            ..Config::default()
        },
        compression,
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Gzip(1)] {
        let write = |file: &str| {
            image(compression)
                .write("x/y:1", &folder.path().join(file))
                .unwrap()
        };
        let (one, two) = (write("one.tar"), write("two.tar"));
        assert_eq!((&one.digest, &one.id, one.size), (&two.digest, &two.id, two.size));
        assert_eq!(
            std::fs::read(&one.path).unwrap(),
            std::fs::read(&two.path).unwrap()
        );
    }
}

#[test]
fn what_was_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::fs::metadata(std::env::current_exe().unwrap()).unwrap().len();
    for compression in [Compression::None, Compression::Gzip(1)] {
        let path = folder.path().join("new/folder/image.tar");
        let written = image(compression).write("test.local/x:1", &path).unwrap();
        assert_eq!(written.layers.len(), 2);
        assert_eq!(
            written.layers[0].unpacked > written.layers[0].size,
            compression != Compression::None
        );
        let archive = Archive::open(&path).unwrap();
        assert_eq!(
            (archive.name(), archive.digest()),
            ("test.local/x:1", written.digest.as_str())
        );
        assert_eq!(*archive.config(), image(compression).config);
        let entries = archive.entries().unwrap();
        let of = |path: &str| {
            entries
                .get(path)
                .unwrap_or_else(|| panic!("{path} in {entries:?}"))
        };
        assert_eq!((of("/test").mode, of("/test").size), (0o755, own));
        assert_eq!(
            of("/usr/local/bin/test").link.as_deref(),
            Some(Path::new("/test"))
        );
        assert!(of("/etc").folder);
        assert!(
            entries
                .values()
                .all(|entry| (entry.mtime, entry.uid, entry.gid) == (0, 0, 0))
        );
        assert!(
            entries.keys().any(|path| path.ends_with("/libc.so.6")),
            "{entries:?}"
        );
    }
}

/// Proof that nothing is missing: the unpacked loader starts the unpacked program with the unpacked libraries alone.
#[test]
fn an_unpacked_program_runs_with_the_unpacked_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    image(Compression::None).write("x:1", &path).unwrap();
    let root = folder.path().join("root");
    let archive = Archive::open(&path).unwrap();
    archive.unpack(&root).unwrap();
    let find = |part: &str| {
        let entries = archive.entries().unwrap();
        let found = entries.keys().find(|path| path.contains(part)).unwrap().clone();
        root.join(found.trim_start_matches('/'))
    };
    let output = std::process::Command::new(find("/ld-linux"))
        .arg("--library-path")
        .arg(find("/libc.so.6").parent().unwrap())
        .arg(root.join("test"))
        .args(["--list", "archive"])
        .output()
        .unwrap();
    let lines = String::from_utf8_lossy(&output.stdout);
    assert!(lines.contains("an_unpacked_program_runs"), "{output:?}");
}

#[test]
fn a_damaged_archive_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    let written = image(Compression::None).write("x:1", &path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let user = b"\"User\":\"65532:65532\"";
    let at = bytes
        .windows(user.len())
        .position(|window| window == user)
        .unwrap();
    bytes[at + user.len() - 2] = b'3';
    std::fs::write(&path, &bytes).unwrap();
    let error = format!("{:#}", Archive::open(&path).unwrap_err());
    assert!(
        error.contains("damaged") && error.contains(&written.id[7..]),
        "{error}"
    );
    std::fs::write(&path, "no tar").unwrap();
    assert!(Archive::open(&path).is_err());
}

#[test]
fn names_need_a_tag() {
    for (name, expected) in [
        ("landbridge:0.1.0", Some("0.1.0")),
        ("test.local/landbridge:test", Some("test")),
        ("host:5000/a/b:1", Some("1")),
        ("host:5000/a/b", None),
        ("landbridge", None),
        ("landbridge:", None),
        (":1", None),
        ("land bridge:1", None),
        ("a:1:2", None),
    ] {
        assert_eq!(tag(name).ok(), expected, "{name}");
    }
}
