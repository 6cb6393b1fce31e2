use std::os::unix::fs::symlink;

use landbridge_destination::RouteKey;
use tempfile::TempDir;

use super::*;

fn manifest(name: &str, destination: &str) -> String {
    format!(
        "apiVersion: destination.connectivity.api.sap/v1\nkind: Destination\nmetadata:\n  name: {name}\nspec:\n  \
         destinationRef:\n    name: {destination}\n"
    )
}

struct Watched {
    folder: TempDir,
    states: watch::Receiver<Arc<ManifestSet>>,
    shutdown: Shutdown,
}

impl Watched {
    async fn start(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let shutdown = Shutdown::new();
        let states = watch(folder.path(), &shutdown).await.unwrap();
        Self {
            folder,
            states,
            shutdown,
        }
    }

    fn write(&self, name: &str, text: &str) {
        // As editors and `kubectl` plug-ins do: a new file under the old name.
        let path = self.folder.path().join(name);
        let draft = self.folder.path().join(".draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, path).unwrap();
    }

    /// Destination behind each name, once `wanted` holds.
    async fn until(&mut self, what: &str, wanted: impl Fn(&ManifestSet) -> bool) -> Arc<ManifestSet> {
        let state =
            tokio::time::timeout(Duration::from_secs(60), self.states.wait_for(|set| wanted(set))).await;
        state
            .unwrap_or_else(|_| panic!("waited for: {what}"))
            .unwrap()
            .clone()
    }
}

fn target(set: &ManifestSet, name: &str) -> Option<String> {
    let declared = set.destinations.get(&RouteKey::new("default", name))?;
    Some(declared.resource.spec.destination_ref.name.clone())
}

#[tokio::test]
async fn files_that_come_change_and_go_are_seen() {
    let mut watched = Watched::start(&[
        ("a.yaml", &manifest("erp", "one")),
        ("notes.txt", "x"),
        (".b.yaml", "x"),
    ])
    .await;
    let first = watched.states.borrow().clone();
    assert_eq!(
        (first.destinations.len(), first.problems.len()),
        (1, 0),
        "other files are none"
    );

    watched.write("b.yml", &manifest("crm", "two"));
    watched
        .until("a new file", |set| target(set, "crm").is_some())
        .await;
    watched.write("a.yaml", &manifest("erp", "six"));
    let changed = watched
        .until("the change", |set| target(set, "erp").as_deref() == Some("six"))
        .await;
    let generation = changed.destinations[&RouteKey::new("default", "erp")]
        .resource
        .metadata
        .generation;
    assert_eq!(generation, Some(2));
    std::fs::remove_file(watched.folder.path().join("b.yml")).unwrap();
    watched
        .until("the deletion", |set| set.destinations.len() == 1)
        .await;

    assert_eq!(
        watched.shutdown.drain(Duration::from_secs(60)).await,
        landbridge_runtime::shutdown::Drained::Complete
    );
}

#[tokio::test]
async fn a_slip_keeps_the_last_good_version_until_the_file_is_right_again() {
    let both = format!("{}---\n{}", manifest("erp", "one"), manifest("crm", "two"));
    let mut watched = Watched::start(&[("a.yaml", &both)]).await;
    watched.write("a.yaml", &both.replace("name: two", "nam: two"));
    let slip = watched.until("the mistake", |set| !set.problems.is_empty()).await;
    assert_eq!(target(&slip, "crm").as_deref(), Some("two"));
    assert_eq!(slip.problems[0].line, Some(14), "{:?}", slip.problems);
    watched.write("a.yaml", &manifest("erp", "one"));
    let right = watched
        .until("the correction", |set| set.problems.is_empty())
        .await;
    assert_eq!(
        (target(&right, "erp").is_some(), target(&right, "crm")),
        (true, None)
    );
}

#[tokio::test]
async fn a_mounted_config_map_is_swapped_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (version, destination) in [("..v1", "one"), ("..v2", "two")] {
        std::fs::create_dir(path(version)).unwrap();
        std::fs::write(path(version).join("a.yaml"), manifest("erp", destination)).unwrap();
    }
    symlink("..v1", path("..data")).unwrap();
    symlink("..data/a.yaml", path("a.yaml")).unwrap();
    let shutdown = Shutdown::new();
    let states = watch(folder.path(), &shutdown).await.unwrap();
    assert_eq!(target(&states.borrow(), "erp").as_deref(), Some("one"));

    symlink("..v2", path("..data_tmp")).unwrap();
    std::fs::rename(path("..data_tmp"), path("..data")).unwrap();
    let mut watched = Watched {
        folder,
        states,
        shutdown,
    };
    watched
        .until("the swap", |set| target(set, "erp").as_deref() == Some("two"))
        .await;
}

#[tokio::test]
async fn a_folder_that_vanishes_keeps_its_last_state_and_recovers() {
    let mut watched = Watched::start(&[("a.yaml", &manifest("erp", "one"))]).await;
    let path = watched.folder.path().to_path_buf();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    let lost = watched.until("the loss", |set| !set.problems.is_empty()).await;
    assert!(target(&lost, "erp").is_some());
    assert!(
        lost.problems[0].message.contains("does not exist"),
        "{:?}",
        lost.problems
    );
    std::fs::rename(&aside, &path).unwrap();
    watched
        .until("the recovery", |set| {
            set.problems.is_empty() && set.destinations.len() == 1
        })
        .await;
}

#[tokio::test]
async fn too_large_files_and_links_to_nowhere_are_no_danger() {
    let watched = Watched::start(&[("a.yaml", &manifest("erp", "one"))]).await;
    let large = std::fs::File::create(watched.folder.path().join("big.yaml")).unwrap();
    large.set_len(MAX_FILE_BYTES + 1).unwrap();
    symlink("/nonexistent/x.yaml", watched.folder.path().join("dangling.yaml")).unwrap();
    std::fs::create_dir(watched.folder.path().join("folder.yaml")).unwrap();
    let mut watched = watched;
    let set = watched
        .until("the large file", |set| !set.problems.is_empty())
        .await;
    assert_eq!(set.problems.len(), 1, "{:?}", set.problems);
    assert_eq!(
        set.problems[0].to_string(),
        "big.yaml: is larger than 1048576 bytes: split it"
    );
    assert_eq!(set.destinations.len(), 1);
}

#[tokio::test]
async fn a_folder_that_is_none_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let missing = watch(&folder.path().join("nowhere"), &Shutdown::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(missing.contains("nowhere does not exist: create it"), "{missing}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let wrong = watch(&file, &Shutdown::new()).await.unwrap_err().to_string();
    assert!(wrong.contains("is not a folder"), "{wrong}");
}
