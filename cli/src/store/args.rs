//! The command line of `landbridge store`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::data::DataArgs;
use super::destinations::KeyArgs;
use super::issuers::IssuerCommand;
use super::serve::StoreServeArgs;
use super::tenants::{InstanceCommand, KeyCommand, SubaccountCommand, SubscriptionCommand};

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
  curl -H "Authorization: Bearer $token" \
      "$(entry uri)/destination-configuration/v1/destinations/erp"

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
    /// Encrypt everything with another key, beside running stores. Takes half a minute longer than the work itself, so that
    /// all stores know the key before it is used; interrupted, it goes on when it is called again.
    RotateKey {
        /// Where everything is kept.
        #[command(flatten)]
        data: DataArgs,
        /// File with the new key, made elsewhere; a fresh one is made when not given. A key that is the last line of the
        /// key file already, and is not used yet, is taken without being told.
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
        /// Take old keys out of the key file once nothing uses them; each is kept in a file beside it, for old backups.
        #[arg(long)]
        drop_old: bool,
        /// No store runs, so nobody is waited for.
        #[arg(long)]
        offline: bool,
    },
    /// Write everything into one file, consistent, beside a running store. What is encrypted stays so: keep the key file
    /// elsewhere.
    Backup {
        /// Where everything is kept.
        #[command(flatten)]
        data: DataArgs,
        /// The file; it must not exist.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Read a backup: whether it is whole, and whether everything in it opens with the key.
    VerifyBackup {
        /// The backup.
        file: PathBuf,
        /// Where the key is; no database is opened.
        #[command(flatten)]
        data: DataArgs,
    },
    /// Write a backup into an empty database of either kind, all of it or nothing.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Where to.
        #[command(flatten)]
        data: DataArgs,
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
    /// Create or replace destinations from property files (.props, .properties, .jks, .txt or no ending), JSON files and
    /// folders of them. What is invalid is told property by property and not stored.
    Import {
        /// With which key.
        #[command(flatten)]
        key: KeyArgs,
        /// Files and folders.
        #[arg(required = true, value_name = "FILE|DIR")]
        files: Vec<PathBuf>,
    },
    /// Write destinations into property files, with their credentials.
    Export {
        /// With which key.
        #[command(flatten)]
        key: KeyArgs,
        /// Names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Folder of the files, each named after its destination.
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Make a destination with all properties of another one.
    Clone {
        /// With which key.
        #[command(flatten)]
        key: KeyArgs,
        /// The one there is.
        name: String,
        /// Name of the new one.
        new: String,
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
