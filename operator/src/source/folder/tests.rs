use landbridge_destination::RouteKey;
use tempfile::TempDir;

use super::*;

/// A folder whose looks the test takes itself, hence without a clock.
struct Looked {
    place: TempDir,
    folder: Folder,
    set: ManifestSet,
}

impl Looked {
    fn start(files: &[(&str, &str)]) -> Self {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(place.path().join(name), text).unwrap();
        }
        let mut looked = Self {
            folder: Folder::new(place.path().to_path_buf()),
            place,
            set: ManifestSet::default(),
        };
        assert!(looked.look(), "the first look is news");
        looked
    }

    /// Writes in place, as `>` of a shell does.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.place.path().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.place.path().join(name)).unwrap();
    }

    fn look(&mut self) -> bool {
        let changed = self.folder.scan().unwrap();
        if changed {
            self.set = self.folder.merge(&self.set);
        }
        changed
    }

    /// What is declared, as `name>destination`.
    fn declared(&self) -> String {
        let all = self.set.destinations.iter();
        all.map(|(RouteKey { name, .. }, declared)| {
            format!("{name}>{} ", declared.resource.spec.destination_ref.name)
        })
        .collect::<String>()
        .trim()
        .to_owned()
    }
}

fn manifest(name: &str, destination: &str) -> String {
    format!(
        "---\napiVersion: destination.connectivity.api.sap/v1\nkind: Destination\nmetadata:\n  name: {name}\nspec:\n  \
         destinationRef:\n    name: {destination}\n"
    )
}

fn both() -> String {
    manifest("a", "one") + &manifest("b", "two")
}

#[test]
fn a_file_that_is_being_written_changes_nothing_until_it_is_complete() {
    // The second and third are right as they stand, and yet are only a part of what is coming.
    let halves = ["", &manifest("a", "one"), &both()[..both().len() - 2]];
    for half in halves {
        let mut looked = Looked::start(&[("all.yaml", &both())]);
        looked.write("all.yaml", half);
        assert!(!looked.look(), "{half}");
        assert_eq!(looked.declared(), "a>one b>two", "{half}");
        looked.write("all.yaml", &(both() + &manifest("c", "three")));
        assert!(!looked.look(), "it may still grow: {half}");
        assert!(looked.look(), "{half}");
        assert_eq!(looked.declared(), "a>one b>two c>three", "{half}");
        assert!(!looked.look(), "{half}");
    }
}

#[test]
fn a_new_file_is_awaited_as_well() {
    let mut looked = Looked::start(&[]);
    looked.write("all.yaml", &manifest("a", "on"));
    assert!(!looked.look());
    looked.write("all.yaml", &manifest("a", "one"));
    assert!(!looked.look());
    assert!(looked.look());
    assert_eq!(looked.declared(), "a>one");
}

#[test]
fn what_stays_empty_is_meant() {
    let mut looked = Looked::start(&[("all.yaml", &both())]);
    looked.write("all.yaml", "");
    assert!(!looked.look());
    assert!(looked.look());
    assert_eq!(looked.declared(), "");
}

#[test]
fn a_file_that_is_away_for_a_moment_takes_nothing_down() {
    let mut looked = Looked::start(&[("all.yaml", &both())]);
    looked.remove("all.yaml");
    assert!(!looked.look());
    looked.write("all.yaml", &both());
    assert!(!looked.look());
    assert!(!looked.look(), "it says what it said before");
    assert_eq!(looked.declared(), "a>one b>two");
    looked.remove("all.yaml");
    assert!(!looked.look());
    assert!(looked.look());
    assert_eq!(looked.declared(), "");
}

#[test]
fn what_moves_from_one_file_to_another_is_one_change() {
    let mut looked = Looked::start(&[
        ("a.yaml", &manifest("a", "one")),
        ("b.yaml", &manifest("b", "two")),
    ]);
    looked.remove("b.yaml");
    looked.write("a.yaml", &(manifest("a", "two") + &manifest("b", "one")));
    assert!(!looked.look());
    assert_eq!(looked.declared(), "a>one b>two");
    assert!(looked.look());
    assert_eq!(looked.declared(), "a>two b>one");
}

#[test]
fn equal_stamps_are_no_proof_of_equal_content() {
    let mut looked = Looked::start(&[("all.yaml", &manifest("a", "one"))]);
    let path = looked.place.path().join("all.yaml");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    // The same length and, as on a drive with coarse time stamps, the same time.
    let write = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    };
    write(&manifest("a", "tw "));
    assert!(!looked.look());
    write(&manifest("a", "two"));
    assert!(!looked.look());
    assert!(looked.look());
    assert_eq!(looked.declared(), "a>two");
}
