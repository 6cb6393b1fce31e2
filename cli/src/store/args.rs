//! The command line of `landbridge store`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::data::DataArgs;
use super::destinations::KeyArgs;
use super::serve::StoreServeArgs;
use super::tenants::{InstanceCommand, IssuerCommand, KeyCommand, SubaccountCommand, SubscriptionCommand};

/// From nothing to a first answer; tried by a test.
pub(super) const FIRST_STEPS: &str = r#"From nothing to a first answer:

  landbridge store serve &
  landbridge store subaccount create shop
  umask 077; landbridge store key create first --subaccount shop > key.json
  echo '{"Name": "erp", "Type": "HTTP", "URL": "https://example.com", "ProxyType": "Internet",
         "Authentication": "NoAuthentication"}' | landbridge store put --binding key.json -
  entry() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}$/\1/p" key.json; }
  token=$(curl -s -u "$(entry clientid):$(entry clientsecret)" -d grant_type=client_credentials \
      "$(entry url)/oauth/token" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -H "Authorization: Bearer $token" "$(entry uri)/destination-configuration/v1/destinations/erp"

Commands that administer work on the data folder (--data-dir) or on PostgreSQL (--database-url-file), beside a
running store; those with --binding go through its REST API."#;

/// `landbridge store ...`.
#[derive(Debug, Args)]
#[command(after_long_help = FIRST_STEPS, after_help = FIRST_STEPS)]
pub(crate) struct StoreArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// Subcommands of `store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Serve the store alone.
    Serve(Box<StoreServeArgs>),
    /// Tenants.
    #[command(subcommand)]
    Subaccount(SubaccountCommand),
    /// Service instances of tenants.
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Service keys: credentials of instances.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Tenants that use an instance of another one.
    #[command(subcommand)]
    Subscription(SubscriptionCommand),
    /// Identity providers whose users' tokens a tenant trusts.
    #[command(subcommand)]
    Issuer(IssuerCommand),
    /// Make new keys that sign tokens. They sign in an hour, when all clients know them.
    RotateSigningKeys {
        /// Where everything is kept.
        #[command(flatten)]
        data: DataArgs,
        /// The old keys became known to others: new ones sign now, and all tokens of the old ones are refused.
        #[arg(long)]
        at_once: bool,
    },
    /// Make a service key and print it; the subaccount is made when it does not exist.
    CreateKey {
        /// Where everything is kept.
        #[command(flatten)]
        data: DataArgs,
        /// Subdomain of the subaccount.
        #[arg(long, default_value = "default", value_name = "SUBDOMAIN")]
        subaccount: String,
        /// Base address under which clients reach the store.
        #[arg(long, default_value = "http://127.0.0.1:20080", value_name = "URL")]
        url: String,
    },
    /// Create or replace destinations from JSON files (one object or an array each).
    Put {
        /// With which key.
        #[command(flatten)]
        key: KeyArgs,
        /// Destination files; - reads standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List the names of all destinations.
    List {
        /// With which key.
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Delete destinations.
    Delete {
        /// With which key.
        #[command(flatten)]
        key: KeyArgs,
        /// Names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    Text,
    /// JSON.
    Json,
}

/// Options of commands with a result.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub output: Format,
}
