//! Tenants, their instances, keys and subscriptions.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use landbridge_store::{Access, Credential, InstanceConfig, KeyInfo, NewKey, Permissions, Role, Subaccount};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::args::{Format, OutputArgs};
use super::data::DataArgs;
use super::destinations::read_text;
use crate::output::print;

/// Where everything is kept, and how the result is printed.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(super) data: DataArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// An instance of a tenant.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// Tenant, by subdomain or id.
    #[arg(long, default_value = "default", value_name = "SUBACCOUNT")]
    subaccount: String,
    /// Instance, by name or id.
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
}

/// Subcommands of `store subaccount`.
#[derive(Debug, Subcommand)]
pub(crate) enum SubaccountCommand {
    /// Make a tenant.
    Create {
        /// Its subdomain: letters, digits and '-'.
        subdomain: String,
        /// Its id; a UUID when not given.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// List all tenants.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Delete a tenant.
    Delete {
        /// Its subdomain or id.
        subaccount: String,
        /// With its instances, keys, destinations and everything else it has.
        #[arg(long)]
        with_content: bool,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Subcommands of `store instance`.
#[derive(Debug, Subcommand)]
pub(crate) enum InstanceCommand {
    /// Make a service instance.
    Create {
        /// Its name.
        name: String,
        /// Tenant, by subdomain or id.
        #[arg(long, default_value = "default", value_name = "SUBACCOUNT")]
        subaccount: String,
        /// JSON with what it is configured with: HTML5Runtime_enabled, init_data; - reads standard input.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Do what a configuration says to an instance that exists; nothing is deleted by it.
    Update {
        /// Its name or id.
        instance: String,
        /// Tenant, by subdomain or id.
        #[arg(long, default_value = "default", value_name = "SUBACCOUNT")]
        subaccount: String,
        /// JSON with what it is configured with; - reads standard input.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// List the instances of a tenant.
    List {
        /// Tenant, by subdomain or id.
        #[arg(long, default_value = "default", value_name = "SUBACCOUNT")]
        subaccount: String,
        #[command(flatten)]
        common: Common,
    },
    /// Delete an instance with its keys.
    Delete {
        /// Its name or id.
        instance: String,
        /// Tenant, by subdomain or id.
        #[arg(long, default_value = "default", value_name = "SUBACCOUNT")]
        subaccount: String,
        /// With its destinations, subscriptions and everything else it has.
        #[arg(long)]
        with_content: bool,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Subcommands of `store key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a service key and print it as JSON; its secret cannot be read again.
    Create {
        /// Its name, unique within the instance.
        name: String,
        #[command(flatten)]
        of: Of,
        /// Base address under which clients reach the store.
        #[arg(long, default_value = "http://127.0.0.1:20080", value_name = "URL")]
        url: String,
        /// It may only find and read: enough for proxies.
        #[arg(long, conflicts_with = "role")]
        read_only: bool,
        /// It may do what this role may, such as destination-viewer; may be given several times. Everything when neither
        /// this nor --read-only is given.
        #[arg(long, value_name = "ROLE")]
        role: Vec<String>,
        /// It is proven by a client certificate in place of a secret; the store has to serve TLS itself.
        #[arg(long)]
        x509: bool,
        /// Days that the certificate is valid (1 to 366).
        #[arg(long, default_value_t = 90, requires = "x509", value_parser = clap::value_parser!(u32).range(1..=366), value_name = "DAYS")]
        days: u32,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List service keys, without secrets.
    List {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        common: Common,
    },
    /// Delete a service key. Tokens it already has stay valid until they expire.
    Delete {
        /// Its client id.
        client_id: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Subcommands of `store subscription`.
#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionCommand {
    /// Let a tenant use an instance of another one.
    Create {
        /// The tenant that may, by subdomain or id.
        subscriber: String,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List the tenants that may use an instance.
    List {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        common: Common,
    },
    /// End a subscription, with everything the instance has for the subscriber.
    Delete {
        /// The tenant that may no more, by subdomain or id.
        subscriber: String,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        data: DataArgs,
    },
}

pub(super) async fn subaccount(command: SubaccountCommand) -> Result<()> {
    match command {
        SubaccountCommand::Create {
            subdomain,
            id,
            common,
        } => {
            let admin = common.data.admin().await?;
            let made = admin.create_subaccount(id.as_deref(), &subdomain).await?;
            show(common.output.output, &made, || {
                format!("subaccount {} created, id {}", made.subdomain, made.id)
            })
        }
        SubaccountCommand::List { common } => {
            let all = common.data.admin().await?.subaccounts().await?;
            show(common.output.output, &all, || subaccounts(&all))
        }
        SubaccountCommand::Delete {
            subaccount,
            with_content,
            data,
        } => {
            let admin = data.admin().await?;
            let deleted = admin.delete_subaccount(&subaccount, with_content);
            deleted.await.map_err(name_flag)?;
            print(&format!("subaccount {subaccount} deleted"));
            Ok(())
        }
    }
}

pub(super) async fn instance(command: InstanceCommand) -> Result<()> {
    match command {
        InstanceCommand::Create {
            name,
            subaccount,
            config,
            common,
        } => {
            let config = match config {
                Some(file) => InstanceConfig::from_json(&read_text(&file)?)?,
                None => InstanceConfig::default(),
            };
            let admin = common.data.admin().await?;
            let made = admin
                .create_configured_instance(&subaccount, &name, &config)
                .await?;
            show(common.output.output, &made, || {
                format!("instance {} created, id {}", made.name, made.id)
            })
        }
        InstanceCommand::Update {
            instance,
            subaccount,
            config,
            common,
        } => {
            let config = InstanceConfig::from_json(&read_text(&config)?)?;
            let admin = common.data.admin().await?;
            let made = admin.configure_instance(&subaccount, &instance, &config).await?;
            show(common.output.output, &made, || {
                format!("instance {} updated", made.name)
            })
        }
        InstanceCommand::List { subaccount, common } => {
            let all = common.data.admin().await?.instances(&subaccount).await?;
            show(common.output.output, &all, || {
                let rows = all.iter().map(|one| [&one.name, &one.id, &one.created]);
                table(["NAME", "ID", "CREATED"], rows)
            })
        }
        InstanceCommand::Delete {
            instance,
            subaccount,
            with_content,
            data,
        } => {
            let admin = data.admin().await?;
            let deleted = admin.delete_instance(&subaccount, &instance, with_content);
            deleted.await.map_err(name_flag)?;
            print(&format!("instance {instance} deleted"));
            Ok(())
        }
    }
}

pub(super) async fn key(command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Create {
            name,
            of,
            url,
            read_only,
            role,
            x509,
            days,
            data,
        } => {
            let new = NewKey {
                subaccount: &of.subaccount,
                instance: of.instance.as_deref(),
                name: &name,
                address: &url,
                permissions: permissions(read_only, &role)?,
                credential: if x509 {
                    Credential::Certificate { days }
                } else {
                    Credential::Secret
                },
            };
            let made = data.admin().await?.create_key(&new).await?;
            print(made.expose_secret());
            Ok(())
        }
        KeyCommand::List { of, common } => {
            let admin = common.data.admin().await?;
            let keys = admin.service_keys(&of.subaccount, of.instance.as_deref()).await?;
            show(common.output.output, &keys, || key_table(&keys))
        }
        KeyCommand::Delete { client_id, data } => {
            data.admin().await?.delete_service_key(&client_id).await?;
            print(&format!("service key {client_id} deleted"));
            Ok(())
        }
    }
}

pub(super) async fn subscription(command: SubscriptionCommand) -> Result<()> {
    match command {
        SubscriptionCommand::Create { subscriber, of, data } => {
            let admin = data.admin().await?;
            admin
                .subscribe(&of.subaccount, of.instance.as_deref(), &subscriber)
                .await?;
            print(&format!("{subscriber} may use the instance"));
        }
        SubscriptionCommand::List { of, common } => {
            let admin = common.data.admin().await?;
            let all = admin.subscribers(&of.subaccount, of.instance.as_deref()).await?;
            return show(common.output.output, &all, || subaccounts(&all));
        }
        SubscriptionCommand::Delete { subscriber, of, data } => {
            let admin = data.admin().await?;
            admin
                .unsubscribe(&of.subaccount, of.instance.as_deref(), &subscriber)
                .await?;
            print(&format!("{subscriber} may not use the instance any more"));
        }
    }
    Ok(())
}

fn permissions(read_only: bool, roles: &[String]) -> Result<Permissions> {
    if roles.is_empty() {
        return Ok(Permissions::Access(if read_only {
            Access::ReadOnly
        } else {
            Access::Full
        }));
    }
    let named = |name: &String| {
        Role::named(name).ok_or_else(|| {
            let known: Vec<_> = Role::ALL.iter().map(|role| role.name.replace(' ', "-")).collect();
            anyhow!("there is no role {name}; use one of {}", known.join(", "))
        })
    };
    let roles = roles.iter().map(named).collect::<Result<_>>()?;
    Ok(Permissions::Roles(roles))
}

/// The option in place of the words of the library.
fn name_flag(error: landbridge_store::Error) -> anyhow::Error {
    match error {
        landbridge_store::Error::NotEmpty(what, has) => {
            anyhow!("{what} still has {has}; delete those first, or all with --with-content")
        }
        error => error.into(),
    }
}

fn subaccounts(all: &[Subaccount]) -> String {
    table(
        ["SUBDOMAIN", "ID"],
        all.iter().map(|one| [&one.subdomain, &one.id]),
    )
}

fn key_table(keys: &[KeyInfo]) -> String {
    let rows = keys.iter().map(|key| {
        [
            key.name.clone(),
            key.instance.clone(),
            key.client_id.clone(),
            key.credential_type.to_owned(),
            key.scopes.join(" "),
        ]
    });
    table(["NAME", "INSTANCE", "CLIENT", "CREDENTIAL", "SCOPES"], rows)
}

pub(super) fn table<const N: usize, T: ToString>(
    head: [&str; N],
    rows: impl Iterator<Item = [T; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row.map(|cell| cell.to_string()));
    }
    table.trim_fmt()
}

pub(super) fn show<T: Serialize>(format: Format, value: &T, text: impl FnOnce() -> String) -> Result<()> {
    match format {
        Format::Text => print(&text()),
        Format::Json => print(&serde_json::to_string_pretty(value)?),
    }
    Ok(())
}
