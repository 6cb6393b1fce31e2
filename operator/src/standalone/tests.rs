use std::net::SocketAddr;

use landbridge_destination::{DestinationConfig, DestinationSelector, RouteProtocol};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::lookup::{Answer, Failure};

/// A store in memory that counts its calls and can be switched off.
#[derive(Debug, Clone, Default)]
struct FakeStore {
    inner: Arc<Mutex<FakeInner>>,
}

#[derive(Debug, Default)]
struct FakeInner {
    configs: HashMap<String, DestinationConfig>,
    down: bool,
    /// How many of the next calls end in a panic.
    panics: usize,
    calls: usize,
    asked: HashSet<String>,
}

impl FakeStore {
    fn put(&self, name: &str, properties: &[(&str, &str)]) {
        let mut config = DestinationConfig::new();
        config.set("Name", name);
        for (property, value) in properties {
            config.set(*property, *value);
        }
        self.inner.lock().configs.insert(name.to_owned(), config);
    }
}

impl Lookups for FakeStore {
    async fn find(&self, selector: DestinationSelector, _known: Option<String>) -> Result<Answer, Failure> {
        let mut inner = self.inner.lock();
        inner.calls += 1;
        inner.asked.insert(selector.name.clone());
        if inner.panics > 0 {
            inner.panics -= 1;
            drop(inner);
            panic!("as a mistake in the program would");
        }
        if inner.down {
            return Err(Failure("the store is down".into()));
        }
        Ok(match inner.configs.get(&selector.name) {
            Some(config) => Answer::Found {
                config: config.clone(),
                etag: None,
            },
            None => Answer::NotFound(format!("no {}: create it", selector.name)),
        })
    }
}

/// A running loop; this test plays the proxy.
struct Running {
    folder: TempDir,
    store: FakeStore,
    routes: watch::Receiver<Arc<RouteSnapshot>>,
    states: watch::Sender<Arc<HashMap<RouteKey, RouteState>>>,
    status: watch::Receiver<Arc<StatusView>>,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

fn manifest(name: &str, destination: &str, port: Option<u16>) -> String {
    let service = port
        .map(|port| format!("  service:\n    port: {port}\n"))
        .unwrap_or_default();
    format!(
        "---\napiVersion: destination.connectivity.api.sap/v1\nkind: Destination\nmetadata:\n  name: {name}\nspec:\n  \
         destinationRef:\n    name: \"{destination}\"\n{service}"
    )
}

impl Running {
    fn start(folder: TempDir, store: FakeStore, adjust: impl FnOnce(&mut Config)) -> Self {
        let (routes_in, routes) = watch::channel(Arc::new(RouteSnapshot::default()));
        let (states, states_out) = watch::channel(Arc::new(HashMap::new()));
        let (status_in, status) = watch::channel(Arc::new(StatusView::default()));
        let channels = Channels {
            routes: routes_in,
            states: states_out,
            status: status_in,
        };
        let mut config = Config::new(folder.path());
        config.refresh = Duration::from_millis(50);
        adjust(&mut config);
        let shutdown = Shutdown::new();
        let task = tokio::spawn(run(config, store.clone(), channels, shutdown.clone()));
        Self {
            folder,
            store,
            routes,
            states,
            status,
            shutdown,
            task,
        }
    }

    fn write(&self, name: &str, text: &str) {
        let draft = self.folder.path().join(".draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.folder.path().join(name)).unwrap();
    }

    async fn until_status(&mut self, what: &str, wanted: impl Fn(&StatusView) -> bool) -> Arc<StatusView> {
        let found =
            tokio::time::timeout(Duration::from_secs(60), self.status.wait_for(|view| wanted(view))).await;
        let found = found.map(|found| found.unwrap().clone());
        found.unwrap_or_else(|_| panic!("waited for {what}, have {:#?}", self.status.borrow()))
    }

    async fn until_routes(
        &mut self,
        what: &str,
        wanted: impl Fn(&RouteSnapshot) -> bool,
    ) -> Arc<RouteSnapshot> {
        let found =
            tokio::time::timeout(Duration::from_secs(60), self.routes.wait_for(|all| wanted(all))).await;
        let found = found.map(|found| found.unwrap().clone());
        found.unwrap_or_else(|_| panic!("waited for {what}, have {:#?}", self.routes.borrow()))
    }

    /// Reports every route as listening.
    fn listen(&self) {
        let all = self.routes.borrow().clone();
        let state = |port: u16| RouteState::Listening(SocketAddr::from(([127, 0, 0, 1], port.max(1))));
        let states = all
            .routes
            .iter()
            .map(|route| (route.key.clone(), state(route.port)))
            .collect();
        self.states.send_replace(Arc::new(states));
    }

    async fn stop(self) -> TempDir {
        self.shutdown.begin();
        tokio::time::timeout(Duration::from_secs(60), self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.folder
    }
}

fn reason<'a>(view: &'a StatusView, name: &str) -> &'a str {
    view.destinations
        .iter()
        .find(|one| one.name == name)
        .map(|one| one.reason.as_str())
        .unwrap_or_default()
}

fn range(config: &mut Config) {
    config.ports = PortPolicy::Range(20_000..=20_009);
}

#[tokio::test]
async fn manifests_become_routes_and_a_status() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FakeStore::default());
    store.put("api", &[("Type", "HTTP"), ("URL", "https://api.example.com")]);
    store.put(
        "db",
        &[
            ("Type", "TCP"),
            ("ProxyType", "OnPremise"),
            ("Address", "db.corp:5432"),
        ],
    );
    store.put("bad", &[("Type", "RFC")]);
    let text = [
        manifest("api", "api", Some(8080)),
        manifest("db", "db", None),
        manifest("bad", "bad", None),
        manifest("gw", "*", None),
        manifest("missing", "nobody", None),
        "---\nkind: 7\n".to_owned(),
    ];
    std::fs::write(folder.path().join("all.yaml"), text.concat()).unwrap();
    let mut running = Running::start(folder, store, range);

    running
        .until_status("the first look-ups", |view| {
            view.settled && view.destinations.len() == 5
        })
        .await;
    let routes = running
        .until_routes("four routes", |all| all.routes.len() == 4)
        .await;
    let route = |name: &str| routes.get(&RouteKey::new("default", name)).unwrap().clone();
    assert_eq!(
        (route("api").port, route("api").protocol),
        (8080, RouteProtocol::Http)
    );
    assert_eq!(route("db").protocol, RouteProtocol::Tcp);
    assert_eq!(
        route("missing").protocol,
        RouteProtocol::Http,
        "so that the proxy can say what is missing"
    );
    assert!(route("gw").is_gateway());

    assert_eq!(reason(&running.status.borrow(), "api"), "Pending");
    running.listen();
    let view = running
        .until_status("the report of the proxy", |view| {
            reason(view, "api") == "ConfigurationSuccessful"
        })
        .await;
    let expected = [
        ("api", "True", "ConfigurationSuccessful"),
        (
            "bad",
            "False",
            "ConfigurationError-ReferencedDestination-TypeNotSupported",
        ),
        ("db", "True", "ConfigurationSuccessful"),
        ("gw", "True", "ConfigurationSuccessful"),
        (
            "missing",
            "False",
            "ConfigurationError-ReferencedDestination-NotFound",
        ),
    ];
    let found: Vec<_> = view
        .destinations
        .iter()
        .map(|one| (one.name.as_str(), one.ready.as_str(), one.reason.as_str()))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(view.destinations[0].address.as_deref(), Some("127.0.0.1:8080"));
    assert_eq!(view.problems.len(), 2, "{:?}", view.problems);
    let json = serde_json::to_value(&*view).unwrap();
    assert_eq!(json["destinations"][2]["protocol"], "tcp", "{json}");
    running.stop().await;
}

#[tokio::test]
async fn a_destination_that_appears_in_the_store_becomes_ready_by_itself() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FakeStore::default());
    std::fs::write(folder.path().join("a.yaml"), manifest("erp", "erp", Some(7))).unwrap();
    let mut running = Running::start(folder, store, range);
    running
        .until_routes("the answering route", |all| all.routes.len() == 1)
        .await;
    running.listen();
    running
        .until_status("not found", |view| reason(view, "erp").ends_with("-NotFound"))
        .await;
    running.store.put(
        "erp",
        &[("Type", "TCP"), ("ProxyType", "OnPremise"), ("Address", "a:1")],
    );
    running
        .until_routes("TCP", |all| all.routes[0].protocol == RouteProtocol::Tcp)
        .await;
    running
        .until_status("success", |view| reason(view, "erp") == "ConfigurationSuccessful")
        .await;
    running.stop().await;
}

#[tokio::test]
async fn routes_outlive_the_store_and_nothing_is_published_without_a_change() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FakeStore::default());
    store.put(
        "erp",
        &[("Type", "TCP"), ("ProxyType", "OnPremise"), ("Address", "a:1")],
    );
    std::fs::write(folder.path().join("a.yaml"), manifest("erp", "erp", Some(7))).unwrap();
    let mut running = Running::start(folder, store, range);
    running
        .until_routes("the route", |all| all.routes.len() == 1)
        .await;
    running.listen();
    running
        .until_status("success", |view| reason(view, "erp") == "ConfigurationSuccessful")
        .await;
    let version = running.routes.borrow().version;

    running.store.inner.lock().down = true;
    let view = running
        .until_status("the outage", |view| view.destinations[0].ready == "Unknown")
        .await;
    assert!(
        view.destinations[0].message.contains("the store is down"),
        "{view:?}"
    );
    assert_eq!(
        reason(&view, "erp"),
        "ConfigurationSuccessful",
        "it is still served"
    );
    running.store.inner.lock().down = false;
    running
        .until_status("the recovery", |view| view.destinations[0].ready == "True")
        .await;

    let calls = running.store.inner.lock().calls;
    running.status.mark_unchanged();
    let more = tokio::time::timeout(Duration::from_secs(60), async {
        while running.store.inner.lock().calls < calls + 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    more.await.unwrap();
    assert!(
        !running.status.has_changed().unwrap(),
        "look-ups that bring nothing new are silent"
    );
    assert_eq!(running.routes.borrow().version, version);
    running.stop().await;
}

#[tokio::test]
async fn a_look_up_that_panics_is_told_and_tried_again() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FakeStore::default());
    store.put("erp", &[("Type", "HTTP"), ("URL", "https://erp.example.com")]);
    store.inner.lock().panics = 2;
    std::fs::write(folder.path().join("a.yaml"), manifest("erp", "erp", Some(7))).unwrap();
    // With room for one, a place that is not given back stops all look-ups.
    let mut running = Running::start(folder, store, |config| config.lookup_concurrency = 1);
    let view = running
        .until_status("the failure", |view| reason(view, "erp") == "ConfigurationFailed")
        .await;
    let message = &view.destinations[0].message;
    assert!(message.contains("tried again"), "{message}");
    running
        .until_status("the next attempt", |view| {
            view.settled && reason(view, "erp") != "ConfigurationFailed"
        })
        .await;
    assert!(running.store.inner.lock().calls >= 3);
    running.stop().await;
}

#[tokio::test]
async fn the_store_is_not_asked_for_what_is_refused_anyway() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FakeStore::default());
    // Without destinationRef.level, this would ask for a fragment named "eu@instance".
    let wrong = manifest("erp", "erp", Some(7)) + "  fragmentRef:\n    name: eu\n    level: instance\n";
    std::fs::write(folder.path().join("a.yaml"), wrong).unwrap();
    let mut running = Running::start(folder, store, range);
    let view = running
        .until_status("the refusal", |view| !view.destinations.is_empty())
        .await;
    assert_eq!(
        reason(&view, "erp"),
        "ConfigurationError-FragmentSpecification-NotSupported"
    );
    assert!(view.settled);
    running.write("b.yaml", &manifest("crm", "crm", Some(8)));
    running
        .until_status("another one", |view| reason(view, "crm").ends_with("-NotFound"))
        .await;
    let asked = running.store.inner.lock().asked.clone();
    assert!(asked.contains("crm") && !asked.contains("erp"), "{asked:?}");
    running.stop().await;
}

#[tokio::test]
async fn ports_stay_the_same_after_a_restart() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FakeStore::default());
    let ports = tempfile::tempdir().unwrap();
    let file = ports.path().join("ports.json");
    let with_file = |config: &mut Config| {
        range(config);
        config.port_file = Some(file.clone());
    };
    std::fs::write(folder.path().join("b.yaml"), manifest("b", "*", None)).unwrap();
    let mut running = Running::start(folder, store.clone(), with_file);
    running.until_routes("b", |all| all.routes.len() == 1).await;
    running.write("a.yaml", &manifest("a", "*", None));
    let before = running.until_routes("a", |all| all.routes.len() == 2).await;
    let folder = running.stop().await;

    let mut running = Running::start(folder, store, with_file);
    let after = running.until_routes("both", |all| all.routes.len() == 2).await;
    let port = |all: &RouteSnapshot, name: &str| all.get(&RouteKey::new("default", name)).unwrap().port;
    for (name, expected) in [("b", 20_000), ("a", 20_001)] {
        assert_eq!(
            (port(&before, name), port(&after, name)),
            (expected, expected),
            "{name}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_port_file_that_cannot_be_written_is_told_and_does_not_stop_the_service() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FakeStore::default());
    let ports = tempfile::tempdir().unwrap();
    let file = ports.path().join("later/ports.json");
    std::fs::write(folder.path().join("a.yaml"), manifest("a", "*", None)).unwrap();
    let mut running = Running::start(folder, store, |config| {
        range(config);
        config.port_file = Some(file.clone());
    });
    let view = running
        .until_status("the problem", |view| view.port_file_problem.is_some())
        .await;
    assert_eq!(view.destinations.len(), 1);
    running
        .until_routes("the route", |all| all.routes.len() == 1)
        .await;
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    running.write("b.yaml", &manifest("b", "*", None));
    running
        .until_status("the next attempt", |view| view.port_file_problem.is_none())
        .await;
    assert!(file.is_file());
    running.stop().await;
}

#[tokio::test]
async fn an_empty_folder_is_a_first_snapshot_and_a_missing_one_an_error() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FakeStore::default());
    let mut running = Running::start(folder, store.clone(), range);
    let first = running.until_routes("version 1", |all| all.version == 1).await;
    assert!(first.routes.is_empty());
    let folder = running.stop().await;
    let missing = folder.path().join("nowhere");
    let running = Running::start(folder, store, |config| config.manifests = missing);
    assert!(matches!(
        running.task.await.unwrap(),
        Err(Error::Source(SourceError::Missing(_)))
    ));
}
