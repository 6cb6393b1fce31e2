//! Values of the store itself, and the keys it signs tokens with.

use super::connection::{execute, read, read_within};
use super::{Database, DbError, SigningKeyRow, Written};

impl Database {
    /// A value of the store itself.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, DbError> {
        let row: Option<(Vec<u8>,)> = read!(
            self,
            fetch_optional,
            "SELECT value FROM meta WHERE key = $1",
            [key]
        )?;
        Ok(row.map(|(value,)| value))
    }

    /// Sets such a value unless it exists; returns what then holds.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn meta_or_insert(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, DbError> {
        let mut transaction = self.begin().await?;
        execute!(
            &mut transaction,
            "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            [key, value]
        )?;
        let (held,): (Vec<u8>,) = read_within!(
            &mut transaction,
            fetch_one,
            "SELECT value FROM meta WHERE key = $1",
            [key]
        )?;
        transaction.commit().await?;
        Ok(held)
    }

    /// Replaces such a value if it is still the one the caller knew.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn replace_meta(&self, key: &str, known: &[u8], value: &[u8]) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let changed = execute!(
            &mut transaction,
            "UPDATE meta SET value = $1 WHERE key = $2 AND value = $3",
            [value, key, known]
        )?;
        transaction.commit().await?;
        Ok(if changed == 1 {
            Written::Done
        } else {
            Written::Changed
        })
    }

    /// Keys of the authorization server, newest first.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn signing_keys(&self) -> Result<Vec<SigningKeyRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT kid, algorithm, sealed, created_ms, signs_from_ms FROM signing_keys \
             ORDER BY signs_from_ms DESC, created_ms DESC, kid",
            []
        )
    }

    /// Adds such a key.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn insert_signing_key(&self, row: &SigningKeyRow) -> Result<(), DbError> {
        let mut transaction = self.begin().await?;
        execute!(
            &mut transaction,
            "INSERT INTO signing_keys (kid, algorithm, sealed, created_ms, signs_from_ms) \
             VALUES ($1, $2, $3, $4, $5)",
            [
                &row.kid,
                &row.algorithm,
                &row.sealed,
                row.created_ms,
                row.signs_from_ms
            ]
        )?;
        transaction.commit().await
    }

    /// Puts another encryption of the same key in place.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn reseal_signing_key(&self, kid: &str, sealed: &[u8]) -> Result<(), DbError> {
        let mut transaction = self.begin().await?;
        execute!(
            &mut transaction,
            "UPDATE signing_keys SET sealed = $1 WHERE kid = $2",
            [sealed, kid]
        )?;
        transaction.commit().await
    }

    /// Removes such a key: what it signed is not valid any more.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn delete_signing_key(&self, kid: &str) -> Result<(), DbError> {
        let mut transaction = self.begin().await?;
        execute!(&mut transaction, "DELETE FROM signing_keys WHERE kid = $1", [kid])?;
        transaction.commit().await
    }
}
