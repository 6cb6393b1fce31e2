use std::collections::BTreeSet;

use super::*;

fn names(layer: &Layer) -> Vec<String> {
    let bytes = layer.write_to(Vec::new()).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn parents_come_first_whatever_the_order_of_calls() {
    let mut layer = Layer::new();
    layer.bytes("/usr/share/x/a", 0o644, "a").unwrap();
    layer.bytes("/usr-local", 0o644, "b").unwrap();
    layer.folder("/tmp", 0o1777, Owner::ROOT).unwrap();
    let names = names(&layer);
    let mut seen = BTreeSet::new();
    for name in &names {
        let name = name.trim_end_matches('/');
        assert!(parents(name).all(|parent| seen.contains(parent)), "{names:?}");
        seen.insert(name);
    }
    assert_eq!(names.len(), 6);
}

#[test]
fn long_paths_survive() {
    let mut layer = Layer::new();
    let path = format!("/{}/{}", "d".repeat(90), "f".repeat(120));
    layer.bytes(&path, 0o644, "x").unwrap();
    assert!(names(&layer).contains(&path[1..].to_owned()));
}

#[test]
fn wrong_paths_are_refused_with_the_reason() {
    let mut layer = Layer::new();
    for (path, part) in [
        ("etc/passwd", "begin with /"),
        ("/etc/../passwd", "has .."),
        ("/", "root folder"),
    ] {
        let error = layer.bytes(path, 0o644, "").unwrap_err().to_string();
        assert!(error.contains(part), "{path}: {error}");
    }
}

#[test]
fn a_path_holds_one_thing() {
    let mut layer = Layer::new();
    layer.bytes("/a", 0o644, "one").unwrap();
    layer.bytes("/a", 0o644, "one").unwrap();
    for (error, part) in [
        (layer.bytes("/a", 0o644, "two"), "already"),
        (layer.bytes("/a", 0o755, "one"), "already"),
        (layer.bytes("/a/b", 0o644, "x"), "no folder"),
        (layer.folder("/a", 0o755, Owner::ROOT), "already"),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_folder_may_be_given_its_mode_later() {
    let mut layer = Layer::new();
    layer.bytes("/var/lib/x/file", 0o644, "").unwrap();
    let owner = Owner { uid: 7, gid: 8 };
    layer.folder("/var/lib/x", 0o700, owner).unwrap();
    let bytes = layer.write_to(Vec::new()).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let found = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap().ends_with("lib/x"))
        .unwrap();
    let header = found.header();
    assert_eq!(
        (
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap()
        ),
        (0o700, 7, 8)
    );
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    std::fs::write(&path, "abcdef").unwrap();
    for left in [3, 9] {
        let file = File::open(&path).unwrap();
        let mut text = Vec::new();
        let error = std::io::Read::read_to_end(&mut ExactSize { file, left }, &mut text).unwrap_err();
        assert!(error.to_string().contains("changed"), "{left}: {error}");
    }
}
