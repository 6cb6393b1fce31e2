//! Where a store keeps everything: a data folder, or PostgreSQL.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use landbridge_store::{Admin, Config};
use secrecy::SecretString;
use url::Url;

/// The variable with the database URL: a command line can be read by everyone on the machine, this only by its owner.
const URL_VARIABLE: &str = "LANDBRIDGE_STORE_DATABASE_URL";

/// Longest file with a database URL.
const MAX_URL: u64 = 16 << 10;

/// Where a store keeps everything.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Folder of the database and its key.
    #[arg(
        long,
        env = "LANDBRIDGE_DATA_DIR",
        default_value = "./landbridge-data",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// PostgreSQL in place of the folder's database: postgres://user@host/name. An address with a password comes from the
    /// environment (LANDBRIDGE_STORE_DATABASE_URL) or from a file.
    #[arg(long, conflicts_with = "database_url_file", value_name = "URL")]
    pub database_url: Option<String>,
    /// File with the database URL, password included.
    #[arg(long, env = "LANDBRIDGE_STORE_DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// File of the key that everything is encrypted with; store.key in the data folder when not given. All stores that
    /// share a PostgreSQL database have the same.
    #[arg(long, env = "LANDBRIDGE_STORE_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

impl DataArgs {
    /// The store's configuration, as far as it is about this.
    ///
    /// # Errors
    /// The database URL cannot be read, or would be a secret on the command line.
    pub(crate) async fn config(&self) -> Result<Config> {
        Ok(Config {
            key_file: self.key_file.clone(),
            database_url: self.database_url().await?,
            ..Config::new(&self.data_dir)
        })
    }

    /// Administration of what is kept, beside a running store or without one.
    ///
    /// # Errors
    /// See [`DataArgs::config`] and [`landbridge_store::Error`].
    pub(crate) async fn admin(&self) -> Result<Admin> {
        Ok(Admin::open(&self.config().await?).await?)
    }

    async fn database_url(&self) -> Result<Option<SecretString>> {
        if let Some(url) = &self.database_url {
            if has_password(url) {
                bail!(
                    "--database-url must have no password: others could read it; put the URL into a file and name that \
                     with --database-url-file, or set {URL_VARIABLE}"
                );
            }
            return Ok(Some(url.clone().into()));
        }
        if let Some(file) = self.database_url_file.clone() {
            let read = tokio::task::spawn_blocking(move || read(&file));
            return Ok(Some(read.await??));
        }
        match std::env::var(URL_VARIABLE) {
            Ok(url) if !url.trim().is_empty() => Ok(Some(url.trim().into())),
            Err(std::env::VarError::NotUnicode(_)) => bail!("{URL_VARIABLE} is no text"),
            _ => Ok(None),
        }
    }
}

/// Also when it cannot be read as an address: what is none is told by the database, without being shown.
fn has_password(url: &str) -> bool {
    match Url::parse(url) {
        Ok(url) if url.scheme().starts_with("postgres") => {
            url.password().is_some()
                || url
                    .query_pairs()
                    .any(|(name, _)| name.eq_ignore_ascii_case("password"))
        }
        _ => url.contains('@') || url.contains("password"),
    }
}

fn read(file: &Path) -> Result<SecretString> {
    let reading = || format!("reading the database URL from {}", file.display());
    let mut text = String::new();
    std::fs::File::open(file)
        .with_context(reading)?
        .take(MAX_URL)
        .read_to_string(&mut text)
        .with_context(reading)?;
    let url = text.trim();
    if url.is_empty() || url.contains(char::is_whitespace) {
        bail!(
            "{} must have the database URL in one line: postgres://user:password@host/name",
            file.display()
        );
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> DataArgs {
        DataArgs {
            data_dir: "data".into(),
            database_url: None,
            database_url_file: None,
            key_file: None,
        }
    }

    #[tokio::test]
    async fn passwords_stay_off_the_command_line() {
        for (url, good) in [
            ("postgres://u@h/d", true),
            ("postgres:///d?host=/run/postgresql", true),
            ("postgres://u:p@h/d", false),
            ("postgres://h/d?password=p", false),
            ("u:p@h", false),
        ] {
            let mut args = args();
            args.database_url = Some(url.into());
            let result = args.config().await;
            assert_eq!(result.is_ok(), good, "{url}");
            if let Err(error) = result {
                assert!(error.to_string().contains("--database-url-file"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_file_has_one_url() {
        use secrecy::ExposeSecret as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        let mut args = args();
        args.database_url_file = Some(file.clone());
        assert!(args.config().await.is_err());
        std::fs::write(&file, "postgres://u:p@h/d\n").unwrap();
        let url = args.config().await.unwrap().database_url.unwrap();
        assert_eq!(url.expose_secret(), "postgres://u:p@h/d");
        for bad in ["", "\n", "a b"] {
            std::fs::write(&file, bad).unwrap();
            assert!(args.config().await.is_err(), "{bad:?}");
        }
    }
}
