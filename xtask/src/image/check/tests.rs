use landbridge_oci_image::{Config, Image, Layer, Owner};

use super::*;

fn archive(folder: &Path, fill: impl FnOnce(&mut Layer), config: Config) -> Archive {
    let mut layer = Layer::new();
    fill(&mut layer);
    let image = Image {
        layers: vec![layer],
        config,
        compression: Compression::None,
    };
    let written = image.write("x:1", &folder.join("x.tar")).unwrap();
    Archive::open(&written.path).unwrap()
}

#[test]
fn what_must_not_be_in_an_image_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let fill = |layer: &mut Layer| {
        layer.bytes("/bin/sh", 0o755, "#!").unwrap();
        layer.bytes("/landbridge", 0o4755, "x").unwrap();
        layer.bytes("/etc/open", 0o666, "x").unwrap();
        layer.folder("/data", 0o755, Owner { uid: 1, gid: 0 }).unwrap();
        layer.folder("/tmp", 0o1777, Owner::ROOT).unwrap();
        layer.link("/usr/local/bin/landbridge", "/landbridge").unwrap();
    };
    let problems = structure(&archive(folder.path(), fill, Config::default())).unwrap();
    for part in [
        "the user is \"\"",
        "the entrypoint is []",
        "/bin/sh can be executed",
        "/landbridge gives rights",
        "/etc/open can be written by all",
        "/data is not of root",
    ] {
        assert!(
            problems.iter().any(|problem| problem.contains(part)),
            "{part}: {problems:?}"
        );
    }
    assert_eq!(problems.len(), 6, "{problems:?}");
}

/// The checks that run the image fail where the program's libraries are missing. Says nothing where mounting is not
/// allowed, as the step itself says there.
#[test]
fn a_program_without_its_libraries_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let fill = |layer: &mut Layer| {
        layer.file("/landbridge", 0o755, &own).unwrap();
        layer.folder("/tmp", 0o1777, Owner::ROOT).unwrap();
    };
    let archive = archive(folder.path(), fill, Config::default());
    let Ok(root) = Root::unpack(&archive, folder.path(), false).unwrap() else {
        return;
    };
    for (what, problems) in root.checks().unwrap() {
        assert!(!problems.is_empty(), "{what}");
    }
}

#[test]
fn different_images_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| {
        let mut layer = Layer::new();
        layer.bytes("/a", 0o644, text).unwrap();
        let image = Image {
            layers: vec![layer],
            config: Config::default(),
            compression: Compression::None,
        };
        image.write("x:1", &folder.path().join("x.tar")).unwrap()
    };
    assert!(same(&write("a"), &write("a")).is_empty());
    assert_eq!(same(&write("a"), &write("b")).len(), 1);
}
