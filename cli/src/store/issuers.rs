//! Identity providers that a tenant trusts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use landbridge_store::TrustedIssuer;

use super::data::DataArgs;
use super::destinations::read_text;
use super::tenants::{Common, show, table};
use crate::output::print;

/// Subcommands of `store issuer`.
#[derive(Debug, Subcommand)]
pub(crate) enum IssuerCommand {
    /// Trust an identity provider; replaces what was said of the one of that name.
    Trust {
        /// JSON: name, issuer, audiences and, if wanted, algorithms, jwks_uri, client_id, client_secret, scope; - reads
        /// standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Tenant, by subdomain or id.
        #[arg(long, default_value = "default", value_name = "SUBACCOUNT")]
        subaccount: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List the trusted identity providers of a tenant.
    List {
        /// Tenant, by subdomain or id.
        #[arg(long, default_value = "default", value_name = "SUBACCOUNT")]
        subaccount: String,
        #[command(flatten)]
        common: Common,
    },
    /// Trust an identity provider no more.
    Distrust {
        /// Its name.
        name: String,
        /// Tenant, by subdomain or id.
        #[arg(long, default_value = "default", value_name = "SUBACCOUNT")]
        subaccount: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Runs `landbridge store issuer ...`.
pub(super) async fn run(command: IssuerCommand) -> Result<()> {
    match command {
        IssuerCommand::Trust {
            file,
            subaccount,
            data,
        } => {
            let issuer = trusted(&file)?;
            let name = issuer.name.clone();
            data.admin().await?.trust_issuer(&subaccount, issuer).await?;
            print(&format!("{name} is trusted"));
        }
        IssuerCommand::List { subaccount, common } => {
            let mut all = common.data.admin().await?.trusted_issuers(&subaccount).await?;
            for issuer in &mut all {
                issuer.client_secret = None;
            }
            return show(common.output.output, &all, || {
                table(["NAME", "ISSUER"], all.iter().map(|one| [&one.name, &one.issuer]))
            });
        }
        IssuerCommand::Distrust {
            name,
            subaccount,
            data,
        } => {
            data.admin().await?.distrust_issuer(&subaccount, &name).await?;
            print(&format!("{name} is not trusted any more"));
        }
    }
    Ok(())
}

fn trusted(file: &Path) -> Result<TrustedIssuer> {
    serde_json::from_str(&read_text(file)?)
        .with_context(|| format!("{} describes no trusted issuer", file.display()))
}
