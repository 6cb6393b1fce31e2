//! `landbridge store`: serve it, administer it, manage destinations.

pub(crate) mod args;
mod data;
mod destinations;
mod files;
mod issuers;
mod keep;
mod keys;
mod serve;
mod tenants;
mod token_args;

use anyhow::Result;
use landbridge_store::{Access, Admin, KeyRotation};
use secrecy::ExposeSecret;
use uuid::Uuid;

pub(crate) use token_args::TokenArgs;

use crate::output::print;
use crate::standalone::embedded::subaccount;
use args::{StoreArgs, StoreCommand};

/// Runs `landbridge store ...`.
///
/// # Errors
/// What cannot be done, and why.
pub(crate) async fn run(args: StoreArgs) -> Result<()> {
    match args.command {
        StoreCommand::Serve(args) => serve::run(*args).await,
        StoreCommand::Subaccount(command) => tenants::subaccount(command).await,
        StoreCommand::Instance(command) => tenants::instance(command).await,
        StoreCommand::Key(command) => tenants::key(command).await,
        StoreCommand::Subscription(command) => tenants::subscription(command).await,
        StoreCommand::Issuer(command) => issuers::run(command).await,
        StoreCommand::RotateSigningKeys { data, at_once } => {
            for kid in data.admin().await?.rotate_signing_keys(at_once).await? {
                print(&kid);
            }
            Ok(())
        }
        StoreCommand::RotateKey {
            data,
            new_key_file,
            drop_old,
            offline,
        } => {
            let rotation = KeyRotation {
                new_key_file,
                drop_old,
                offline,
            };
            keep::rotate_key(&data, &rotation).await
        }
        StoreCommand::Backup { data, output } => keep::backup(&data, &output).await,
        StoreCommand::VerifyBackup { file, data } => keep::verify(&data, &file).await,
        StoreCommand::Restore { file, data } => keep::restore(&data, &file).await,
        StoreCommand::CreateKey {
            data,
            subaccount,
            url,
        } => create_key(&data.admin().await?, &subaccount, &url).await,
        StoreCommand::Put { key, files } => destinations::put(&key.binding, &files).await,
        StoreCommand::Import { key, files } => files::import(&key.binding, &files).await,
        StoreCommand::Export { key, names, output } => files::export(&key.binding, &names, &output).await,
        StoreCommand::Clone { key, name, new } => files::clone(&key.binding, &name, &new).await,
        StoreCommand::List { key } => destinations::list(&key.binding).await,
        StoreCommand::Delete { key, names } => destinations::delete(&key.binding, &names).await,
    }
}

async fn create_key(admin: &Admin, subdomain: &str, url: &str) -> Result<()> {
    let tenant = subaccount(admin, subdomain).await?;
    let name = format!("key-{}", Uuid::now_v7().simple());
    let binding = admin
        .create_service_key(&tenant, &name, url, Access::Full)
        .await?;
    print(binding.to_json_with_secret().expose_secret());
    Ok(())
}
