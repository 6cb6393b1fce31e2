use super::*;

/// A small image in `folder`, from this test as the program.
fn small(folder: &Path) -> Packed {
    let workspace = Workspace::find().unwrap();
    let binary = std::env::current_exe().unwrap();
    let output = folder.join("small.tar");
    pack(&workspace, &binary, None, "small:1", Compression::None, &output).unwrap()
}

#[test]
fn sizes_are_told_in_megabytes() {
    for (bytes, text) in [(0, "0.0 MB"), (1_049_999, "1.0 MB"), (19_950_000, "19.9 MB")] {
        assert_eq!(megabytes(bytes), text);
    }
}

#[test]
fn the_bill_of_materials_lies_beside_and_inside() {
    let folder = tempfile::tempdir().unwrap();
    let packed = small(folder.path());
    assert_eq!(packed.sbom, folder.path().join("small.cdx.json"));
    let root = folder.path().join("root");
    unpack(&packed, &root).unwrap();
    let inside = std::fs::read(root.join("usr/share/sbom/landbridge.cdx.json")).unwrap();
    assert_eq!(inside, std::fs::read(&packed.sbom).unwrap());
    let error = unpack(&packed, &root).unwrap_err().to_string();
    assert!(error.contains("is not empty"), "{error}");
}

/// The two ways to an image must not drift apart.
#[test]
fn the_dockerfile_says_the_same() {
    let workspace = Workspace::find().unwrap();
    let read = |name: &str| std::fs::read_to_string(workspace.root().join(name)).unwrap();
    let dockerfile = read("Dockerfile");
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&small(folder.path()).written.path).unwrap();
    let config = archive.config();
    let toolchain = read("rust-toolchain.toml");
    let compiler = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap()
        .trim_matches('"');
    for line in [
        format!("USER {}", config.user),
        format!("ENTRYPOINT [{:?}]", config.entrypoint[0]),
        format!("ENV {}", config.env[0]),
        format!("ARG RUST_IMAGE=rust:{compiler}-bookworm"),
        format!("ENV CI=true RUSTUP_TOOLCHAIN={compiler}"),
    ] {
        assert!(dockerfile.lines().any(|found| found == line), "{line}");
    }
    assert_eq!((config.entrypoint.len(), config.env.len()), (1, 1));
}

/// The page's commands have the options that there are.
#[test]
fn the_commands_of_the_page_can_be_read() {
    use clap::Parser as _;
    let workspace = Workspace::find().unwrap();
    let page = std::fs::read_to_string(workspace.root().join("docs/how-to/build-the-image.md")).unwrap();
    let mut lines = 0;
    for line in page.lines().filter(|line| line.starts_with("cargo xtask ")) {
        let words = line.split_whitespace().skip(1);
        if let Err(error) = crate::Arguments::try_parse_from(words) {
            panic!("{line}: {error}");
        }
        lines += 1;
    }
    assert!(lines >= 3, "{lines}");
}
