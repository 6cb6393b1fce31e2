//! `landbridge store`: serve it, make keys, manage destinations.

mod keys;
mod token_args;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_destination::properties::DestinationConfig;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_store::{Access, Admin, Config, Limits, Store, TlsFiles};
use secrecy::ExposeSecret;
use serde_json::Value;
use uuid::Uuid;

use keys::ServiceKeys;
pub(crate) use token_args::TokenArgs;

use crate::args::{StoreCommand, StoreServeArgs};
use crate::output::print;
use crate::ready::Ready;
use crate::runner::stop_on_signal;
use crate::standalone::embedded::{name_flag, subaccount};

/// Longest standard input: the largest request of the store, and some.
const MAX_INPUT: u64 = 16 << 20;

/// Runs `landbridge store ...`.
///
/// # Errors
/// What cannot be done, and why.
pub(crate) async fn run(command: StoreCommand) -> Result<()> {
    match command {
        StoreCommand::Serve(args) => serve(args).await,
        StoreCommand::CreateKey {
            data_dir,
            subaccount,
            url,
        } => create_key(&data_dir, &subaccount, &url).await,
        StoreCommand::Put { key, files } => put(&key.binding, &files).await,
        StoreCommand::List { key } => {
            for destination in client(&key.binding)?.list().await? {
                print(destination.name());
            }
            Ok(())
        }
        StoreCommand::Delete { key, names } => delete(&key.binding, &names).await,
    }
}

async fn serve(args: StoreServeArgs) -> Result<()> {
    if let Some(file) = &args.server.ready_file {
        Ready::remove(file)?;
    }
    let config = Config {
        listen: args.listen,
        tls: args
            .tls_certificate
            .zip(args.tls_key)
            .map(|(certificate, key)| TlsFiles { certificate, key }),
        admin_listen: Some(args.admin_listen),
        public_url: args.public_url,
        allow_private_token_services: args.allow_local_targets,
        additional_cas: args.server.additional_ca,
        token_algorithm: args.tokens.token_algorithm.into(),
        token_life: Duration::from_secs(args.tokens.token_life),
        signing_key_age: Duration::from_secs(args.tokens.signing_key_days * 86_400),
        limits: Limits {
            drain: Duration::from_secs(args.server.drain),
            ..Limits::default()
        },
        ..Config::new(&args.data_dir)
    };
    let store = Store::bind(config)
        .await
        .map_err(|error| name_flag(error, "--listen or --admin-listen"))?;
    // Before anyone is told of the store, so that no client with a good key is ever refused.
    let keys = ServiceKeys::adopt(store.admin(), &args.service_key).await?;
    if let Some(file) = &args.server.ready_file {
        let admin = store.admin_addr().context("the admin endpoint has no address")?;
        let store = Some(store.url().to_owned());
        Ready {
            admin,
            store,
            binding: None,
            tenant: None,
            tunnel: None,
        }
        .write(file)?;
    }
    let shutdown = Shutdown::new();
    shutdown.spawn(keys.follow(shutdown.clone()));
    let serving = store.serve(shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => return result.map_err(Into::into),
        result = stop_on_signal(shutdown) => result?,
    }
    serving.await.map_err(Into::into)
}

async fn create_key(data_dir: &Path, subdomain: &str, url: &str) -> Result<()> {
    let admin = Admin::open(&Config::new(data_dir)).await?;
    let tenant = subaccount(&admin, subdomain).await?;
    let name = format!("key-{}", Uuid::now_v7().simple());
    let binding = admin
        .create_service_key(&tenant, &name, url, Access::Full)
        .await?;
    print(binding.to_json_with_secret().expose_secret());
    Ok(())
}

async fn put(binding: &Path, files: &[PathBuf]) -> Result<()> {
    let client = client(binding)?;
    let mut failed = 0;
    for file in files {
        for destination in read(file)? {
            match client.put(&destination).await {
                Ok(()) => print(&format!("{} stored", destination.name())),
                Err(error) => {
                    failed += 1;
                    tracing::error!(destination = destination.name(), file = %file.display(), "{error}");
                }
            }
        }
    }
    if failed > 0 {
        bail!("{failed} destinations were not stored; the lines above say why");
    }
    Ok(())
}

/// Destinations of a file: one object, or an array of them.
fn read(file: &Path) -> Result<Vec<DestinationConfig>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        let mut stdin = std::io::stdin().take(MAX_INPUT);
        stdin
            .read_to_string(&mut text)
            .context("reading standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?
    };
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    list.into_iter()
        .map(|one| {
            serde_json::from_value(one).with_context(|| format!("{} has no destination", file.display()))
        })
        .collect()
}

async fn delete(binding: &Path, names: &[String]) -> Result<()> {
    let client = client(binding)?;
    let mut missing = Vec::new();
    for name in names {
        if client.delete(name).await? {
            print(&format!("{name} deleted"));
        } else {
            missing.push(name.as_str());
        }
    }
    if !missing.is_empty() {
        bail!("the store has no destination named {}", missing.join(", "));
    }
    Ok(())
}

fn client(binding: &Path) -> Result<StoreClient> {
    let text = std::fs::read_to_string(binding).with_context(|| {
        format!(
            "reading the service key {}; name it with --binding",
            binding.display()
        )
    })?;
    let binding = Binding::from_json(&text)?;
    Ok(StoreClient::new(
        binding,
        http_client::standard(Dialer::new(AddressPolicy::Any)?, &[])?,
    ))
}
