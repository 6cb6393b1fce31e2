//! The last snapshot on disk: a proxy that starts while the operator is away serves it at once, to the same callers.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use landbridge_destination::channel::Channel;
use landbridge_destination::route::Route;
use landbridge_destination::serve::{MAX_MESSAGE_BYTES, Workload};
use serde::{Deserialize, Serialize};

/// Written by this version; another one is not read.
const FORMAT: u32 = 1;

/// Largest file: what a snapshot of the largest size grows to, with room.
const MAX_FILE: u64 = 2 * MAX_MESSAGE_BYTES as u64;

/// What is kept.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct State {
    format: u32,
    /// What was served.
    pub(super) routes: Vec<Route>,
    /// Who called from which address, so that scopes hold after a restart, too.
    pub(super) workloads: Vec<Workload>,
    /// What connectors were offered.
    #[serde(default)]
    pub(super) channels: Vec<Channel>,
}

#[derive(Serialize)]
struct StateOut<'a> {
    format: u32,
    routes: Vec<&'a Route>,
    workloads: Vec<&'a Workload>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<&'a Channel>,
}

/// The file's content.
pub(super) fn encode(
    routes: &[Arc<Route>],
    workloads: &[Arc<Workload>],
    channels: &[Arc<Channel>],
) -> Result<Vec<u8>, serde_json::Error> {
    let mut workloads: Vec<&Workload> = workloads.iter().map(Arc::as_ref).collect();
    // In a fixed order, so that the same content is the same text and need not be written again.
    workloads.sort_unstable_by_key(|workload| workload.address);
    serde_json::to_vec(&StateOut {
        format: FORMAT,
        routes: routes.iter().map(Arc::as_ref).collect(),
        workloads,
        channels: channels.iter().map(Arc::as_ref).collect(),
    })
}

/// Writes the file in one step, readable by its owner only: chain variables may hold tokens.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Reads the file; nothing when there is none.
///
/// # Errors
/// It cannot be read, or is none of ours.
pub(super) fn read(path: &Path) -> Result<Option<State>, String> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut content = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .map_err(|error| error.to_string())?;
    if content.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    // Position and kind only: the text of the error could quote a value.
    let state: State = serde_json::from_slice(&content).map_err(|error| {
        format!(
            "{:?} error at line {} column {}",
            error.classify(),
            error.line(),
            error.column()
        )
    })?;
    if state.format != FORMAT {
        return Err(format!(
            "it has format {}, and this version knows {FORMAT}",
            state.format
        ));
    }
    Ok(Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    use landbridge_destination::channel::{ChannelKey, ChannelKind};
    use landbridge_destination::route::{RouteKey, RouteProtocol, Scope};
    use landbridge_destination::selector::DestinationSelector;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(read(&path), Ok(None));
        let route = Arc::new(Route {
            key: RouteKey::new("shop", "erp"),
            selector: DestinationSelector::named("erp"),
            protocol: RouteProtocol::Tcp,
            port: 10_000,
            scope: Scope::Namespaced,
            generation: 3,
            frontends: Vec::new(),
        });
        let workload = |address: &str| {
            Arc::new(Workload {
                address: address.parse().unwrap(),
                namespace: "shop".into(),
                service_account: "default".into(),
            })
        };
        let (one, two) = (workload("10.0.0.1"), workload("10.0.0.2"));
        let routes = [route];
        let channel = Arc::new(Channel {
            key: ChannelKey {
                namespace: None,
                name: "web".into(),
            },
            kind: ChannelKind::Rfc,
            service_id: "web".into(),
            subaccount: Some("acme".into()),
            tenant: None,
            location_ids: vec![String::new()],
            address: "web.shop.svc:80".into(),
            connector: None,
            generation: 1,
        });
        let channels = [Arc::clone(&channel)];
        let content = encode(&routes, &[two.clone(), one.clone()], &channels).unwrap();
        assert_eq!(
            content,
            encode(&routes, &[one.clone(), two.clone()], &channels).unwrap()
        );
        // Twice, over an interrupted attempt.
        fs::write(path.with_extension("tmp"), "half").unwrap();
        for _ in 0..2 {
            write(&path, &content).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!path.with_extension("tmp").exists());
        let state = read(&path).unwrap().unwrap();
        assert_eq!(state.routes, [Route::clone(&routes[0])]);
        assert_eq!(state.workloads, [Workload::clone(&one), Workload::clone(&two)]);
        assert_eq!(state.channels, [Channel::clone(&channel)]);
        // As versions without service channels wrote it.
        fs::write(&path, r#"{"format":1,"routes":[],"workloads":[]}"#).unwrap();
        assert!(read(&path).unwrap().unwrap().channels.is_empty());
        for (bad, said) in [
            ("{", "Eof error at line 1"),
            (r#"{"format":2,"routes":[],"workloads":[]}"#, "format 2"),
            (r#"{"format":1,"routes":[{}],"workloads":[]}"#, "Data error"),
        ] {
            fs::write(&path, bad).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
