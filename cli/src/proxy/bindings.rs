//! Service keys in files: read, and read again when they change, as mounted Secrets do.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_proxy::resolve::change::Change;
use landbridge_proxy::stores::Stores;
use landbridge_runtime::http_client::HttpClient;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;

use super::settings::Instance;

/// How often files are looked at. The kubelet brings a changed Secret within a minute or so; this adds little.
const LOOK: Duration = Duration::from_secs(5);

/// Longest service key; with certificates they have some kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// A binding, and what tells its file from a changed one.
///
/// # Errors
/// What is wrong with the file, without its content.
pub(crate) fn read(file: &Path) -> Result<(Binding, u64), String> {
    let text = text(file)?;
    let digest = digest(&text);
    let binding = Binding::from_json(text.expose_secret())
        .map_err(|error| format!("{} is no service key: {error}", file.display()))?;
    Ok((binding, digest))
}

fn text(file: &Path) -> Result<SecretString, String> {
    let unreadable =
        |error: std::io::Error| format!("cannot read the service key {}: {error}", file.display());
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!(
            "{} is larger than {MAX_FILE} bytes; it is no service key",
            file.display()
        ));
    }
    Ok(text.into())
}

fn digest(text: &SecretString) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.expose_secret().hash(&mut hasher);
    hasher.finish()
}

/// Looks at the files again and again. A changed key is used from then on, and what is kept of its store is asked for
/// again; an unusable one is told and the one before is used on.
pub(super) async fn follow(
    mut instances: Vec<Instance>,
    stores: Stores,
    http: HttpClient,
    changes: mpsc::Sender<Change>,
) {
    loop {
        tokio::time::sleep(LOOK).await;
        for instance in &mut instances {
            if look(instance, &stores, &http).await {
                // The proxy ends when nobody hears it.
                let _ = changes.send(Change::of(instance.name.clone(), None)).await;
            }
        }
    }
}

/// Whether there is another key now.
async fn look(instance: &mut Instance, stores: &Stores, http: &HttpClient) -> bool {
    let file = instance.file.clone();
    let Ok(looked) =
        tokio::task::spawn_blocking(move || (text(&file).map(|text| digest(&text)), read(&file))).await
    else {
        return false;
    };
    let (seen, read) = looked;
    // A file that cannot be read counts as one content, so that it is told once.
    let seen = seen.unwrap_or_default();
    if std::mem::replace(&mut instance.digest, seen) == seen {
        return false;
    }
    match read {
        Ok((binding, digest)) => {
            instance.digest = digest;
            tracing::info!(instance = instance.name, "the service key has changed");
            instance.binding = binding.clone();
            stores.replace(&instance.name, &StoreClient::new(binding, http.clone()));
            true
        }
        Err(reason) => {
            tracing::error!(
                instance = instance.name,
                reason,
                "the service key has changed and cannot be used; the one before is used on"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_runtime::dial::{AddressPolicy, Dialer};
    use landbridge_runtime::http_client;

    fn key(id: &str) -> String {
        format!(r#"{{"clientid":"{id}","clientsecret":"s","url":"http://h","uri":"http://h"}}"#)
    }

    #[tokio::test]
    async fn a_changed_key_is_used_and_an_unusable_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.json");
        std::fs::write(&file, key("1")).unwrap();
        let (binding, digest) = read(&file).unwrap();
        let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
        let clients = [("one".to_owned(), StoreClient::new(binding.clone(), http.clone()))];
        let stores = Stores::new("one", clients.into()).unwrap();
        let mut instance = Instance {
            name: "one".into(),
            file: file.clone(),
            binding,
            digest,
        };
        for (content, changed, id) in [
            (Some(key("1")), false, "1"),
            (Some("{".to_owned()), false, "1"),
            (None, false, "1"),
            (Some(key("2")), true, "2"),
            (Some(key("2")), false, "2"),
            // There again as it was.
            (None, false, "2"),
            (Some(key("2")), true, "2"),
        ] {
            match &content {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            assert_eq!(look(&mut instance, &stores, &http).await, changed, "{content:?}");
            let used = stores.client(None).unwrap();
            assert_eq!(used.binding().client_id, id, "{content:?}");
        }
        std::fs::write(&file, "{").unwrap();
        let error = read(&file).unwrap_err();
        assert!(
            error.contains("key.json") && error.contains("no service key"),
            "{error}"
        );
    }
}
