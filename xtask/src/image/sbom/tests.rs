use super::*;

const TREE: &str = "0 landbridge v0.1.0 (/w/cli)\n1 axum v0.8.9\n2 bytes v1.12.2\n1 http v1.5.0\n2 bytes v1.12.2\n\
                    1 landbridge-store v0.1.0 (/w/store)\n2 axum v0.8.9 (*)\n";

fn one(name: &str, version: &str) -> Crate {
    (name.to_owned(), version.to_owned())
}

#[test]
fn the_tree_is_read_with_its_arrows() {
    let linked = Linked::read(TREE).unwrap();
    assert_eq!(linked.root, one("landbridge", "0.1.0"));
    assert_eq!(linked.crates.len(), 5);
    let uses = |name: &str, version: &str| {
        let of = linked.uses.get(&one(name, version)).into_iter().flatten();
        of.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(uses("landbridge", "0.1.0"), ["axum", "http", "landbridge-store"]);
    assert_eq!(uses("axum", "0.8.9"), ["bytes"], "though it is shown twice");
    assert_eq!(uses("bytes", "1.12.2"), [""; 0]);
    for wrong in ["", "x y", "0 a v1\n2 b v1", "0 a 1"] {
        assert!(Linked::read(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn what_lies_beside_the_program_belongs_to_it() {
    let beside = ["pkg:deb/debian/libc6@2".to_owned()];
    let dependencies = Linked::read(TREE).unwrap().dependencies(&beside);
    let of = |reference: &str| {
        dependencies
            .iter()
            .find(|entry| entry["ref"] == reference)
            .unwrap()
    };
    let root = of("pkg:cargo/landbridge@0.1.0");
    assert!(
        root["dependsOn"].as_array().unwrap().contains(&json!(beside[0])),
        "{root}"
    );
    assert!(of(&beside[0]).get("dependsOn").is_none());
    assert_eq!(dependencies.len(), 6);
}

#[test]
fn package_urls_are_encoded() {
    let package = Package {
        name: "libstdc++6".to_owned(),
        version: "1:2.36-9+deb12u14".to_owned(),
        architecture: "amd64".to_owned(),
        source: "gcc".to_owned(),
    };
    for (release, expected) in [("ID=debian\nVERSION_ID=\"12\"\n", "&distro=debian-12"), ("", "")] {
        let purl = of_package(&package, release).purl.unwrap();
        let start = "pkg:deb/debian/libstdc%2B%2B6@1%3A2.36-9%2Bdeb12u14?arch=amd64";
        assert_eq!(purl, format!("{start}{expected}"));
    }
    assert_eq!(reference(&one("a_b-c", "1.0.0+x")), "pkg:cargo/a_b-c@1.0.0%2Bx");
}

/// Every component has an own name in the document, and every arrow ends at one.
#[test]
fn the_bill_of_this_very_workspace_is_whole() {
    let workspace = Workspace::find().unwrap();
    let package = Package {
        name: "libc6".to_owned(),
        version: "2.36".to_owned(),
        architecture: "amd64".to_owned(),
        source: "glibc".to_owned(),
    };
    let system = (vec![package], vec![PathBuf::from("/opt/lib/x.so")]);
    let bill = Bill::of(&workspace, None, &system).unwrap();
    assert_eq!(
        bill.text().unwrap(),
        Bill::of(&workspace, None, &system).unwrap().text().unwrap()
    );
    let text: Value = serde_json::from_slice(&bill.text().unwrap()).unwrap();
    let components = text["components"].as_array().unwrap();
    let mut names: BTreeSet<_> = components
        .iter()
        .map(|one| one["bom-ref"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), components.len());
    names.insert(text["metadata"]["component"]["bom-ref"].as_str().unwrap());
    for entry in text["dependencies"].as_array().unwrap() {
        let ends = entry["dependsOn"].as_array().into_iter().flatten();
        for end in ends.chain([&entry["ref"]]) {
            assert!(names.contains(end.as_str().unwrap()), "{end}");
        }
    }
    let has = |name: &str| components.iter().any(|one| one["name"] == name);
    for name in [
        "rustls",
        "aws-lc-sys",
        "tikv-jemalloc-sys",
        "libsqlite3-sys",
        "rust-std",
        "libc6",
        "/opt/lib/x.so",
    ] {
        assert!(has(name), "{name} is linked in");
    }
    for name in ["tempdir", "proptest", "xtask", "serde_derive", "elf"] {
        assert!(!has(name), "{name} is not");
    }
    let without: Vec<_> = components
        .iter()
        .filter(|one| {
            one["purl"]
                .as_str()
                .is_some_and(|purl| purl.starts_with("pkg:cargo/"))
        })
        .filter(|one| one["licenses"].as_array().is_none_or(Vec::is_empty))
        .map(|one| one["name"].to_string())
        .collect();
    assert!(without.is_empty(), "licences of {without:?} are not known");
}
