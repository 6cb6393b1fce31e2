//! When keys come and go.
//!
//! A new key is published an hour before it signs: clients keep the published keys for up to half an hour. The old one
//! stays published until the last token it can have signed has expired.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use landbridge_runtime::shutdown::Shutdown;

use super::{KIND, SigningKeys, pair, parse_algorithm};
use crate::db::{SigningKeyRow, now_ms};
use crate::error::Error;
use crate::storage::Storage;
use crate::vault::Context;

/// How long a key is known before it signs.
const AHEAD_MS: i64 = 3_600_000;

/// Longest life of a token, 24 h, and an hour for clocks and for requests on their way.
const LONGEST_TOKEN_MS: i64 = 25 * 3_600_000;

/// How often the keys of other stores on the same database are looked for.
const LOOK: Duration = Duration::from_secs(30);

/// A key without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    kid: String,
    algorithm: String,
    signs_from_ms: i64,
}

impl From<&SigningKeyRow> for Head {
    fn from(row: &SigningKeyRow) -> Self {
        Self {
            kid: row.kid.clone(),
            algorithm: row.algorithm.clone(),
            signs_from_ms: row.signs_from_ms,
        }
    }
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    create: bool,
    delete: Vec<String>,
}

/// `age_ms`: how long a key signs.
fn plan(keys: &[Head], algorithm: &str, age_ms: i64, now_ms: i64) -> Plan {
    let newest = keys
        .iter()
        .filter(|key| key.algorithm == algorithm)
        .map(|key| key.signs_from_ms)
        .max();
    // Keys of older databases sign from 0 on, which says nothing of their age; they are exchanged.
    let create = newest.is_none_or(|newest| newest.saturating_add(age_ms) <= now_ms.saturating_add(AHEAD_MS));
    let superseded = |key: &&Head| {
        let followed = keys.iter().any(|other| {
            other.algorithm == key.algorithm
                && other.signs_from_ms > key.signs_from_ms
                && other.signs_from_ms.saturating_add(LONGEST_TOKEN_MS) <= now_ms
        });
        // Of another algorithm: a store that still used it would have made a new one by now.
        let forgotten = key.algorithm != algorithm
            && key
                .signs_from_ms
                .saturating_add(age_ms)
                .saturating_add(LONGEST_TOKEN_MS + AHEAD_MS)
                <= now_ms;
        followed || forgotten
    };
    let delete = keys
        .iter()
        .filter(superseded)
        .map(|key| key.kid.clone())
        .collect();
    Plan { create, delete }
}

/// Adds a key that signs from then on.
pub(super) async fn create(
    storage: &Storage,
    algorithm: Algorithm,
    signs_from_ms: i64,
) -> Result<String, Error> {
    let der = tokio::task::spawn_blocking(move || pair::generate(algorithm))
        .await
        .map_err(std::io::Error::other)?;
    let der = der.ok_or_else(|| Error::SigningKey("none can be made".to_owned()))?;
    let key = pair::SigningKey::from_pkcs8(&der, algorithm)?;
    let context = Context {
        kind: KIND,
        parts: &[&key.kid],
    };
    let row = SigningKeyRow {
        sealed: storage.vault.seal(context, &der)?,
        algorithm: format!("{algorithm:?}"),
        created_ms: now_ms(),
        signs_from_ms,
        kid: key.kid,
    };
    storage.database.insert_signing_key(&row).await?;
    Ok(row.kid)
}

/// A new key of each algorithm there is: published now, signing in an hour or, where the old ones are not to be trusted
/// any more, at once. In that case those are removed, and what they signed is refused.
pub(crate) async fn create_all(storage: &Storage, at_once: bool) -> Result<Vec<String>, Error> {
    let old = storage.database.signing_keys().await?;
    let algorithms: BTreeSet<&str> = old.iter().map(|row| row.algorithm.as_str()).collect();
    let from = if at_once {
        now_ms()
    } else {
        now_ms().saturating_add(AHEAD_MS)
    };
    let mut made = Vec::new();
    for algorithm in algorithms.into_iter().filter_map(parse_algorithm) {
        made.push(create(storage, algorithm, from).await?);
    }
    if at_once {
        for row in &old {
            storage.database.delete_signing_key(&row.kid).await?;
        }
    }
    Ok(made)
}

/// Looks after the keys until `shutdown` begins: those of other stores are taken over, a new one is made when the one
/// that signs is `age` old, old ones are removed.
pub(crate) async fn follow(keys: Arc<SigningKeys>, age: Duration, shutdown: Shutdown) {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    loop {
        if let Err(error) = look_after(&keys, age_ms).await {
            tracing::warn!(%error, "the signing keys cannot be looked after; trying again in 30 s");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shutdown.started() => return,
        }
    }
}

async fn look_after(keys: &SigningKeys, age_ms: i64) -> Result<(), Error> {
    let (storage, now) = (&keys.storage, now_ms());
    let heads: Vec<_> = storage
        .database
        .signing_keys()
        .await?
        .iter()
        .map(Head::from)
        .collect();
    let plan = plan(&heads, &format!("{:?}", keys.algorithm), age_ms, now);
    if plan.create {
        let kid = create(storage, keys.algorithm, now.saturating_add(AHEAD_MS)).await?;
        tracing::info!(kid, "a new signing key is published; it signs in an hour");
    }
    for kid in &plan.delete {
        storage.database.delete_signing_key(kid).await?;
        tracing::info!(kid, "an old signing key was removed");
    }
    keys.reload().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const AGE: i64 = 90 * DAY;
    const NOW: i64 = 1000 * DAY;

    fn head(kid: &str, algorithm: &str, signs_from_ms: i64) -> Head {
        Head {
            kid: kid.to_owned(),
            algorithm: algorithm.to_owned(),
            signs_from_ms,
        }
    }

    #[test]
    fn keys_come_before_they_sign_and_go_when_their_tokens_have_expired() {
        type Case<'a> = (&'a [(&'a str, &'a str, i64)], bool, &'a [&'a str]);
        let cases: [Case<'_>; 10] = [
            (&[], true, &[]),
            (&[("a", "RS256", NOW)], false, &[]),
            (&[("a", "RS256", NOW - AGE + 2 * HOUR)], false, &[]),
            (&[("a", "RS256", NOW - AGE + HOUR)], true, &[]),
            (&[("a", "RS256", 0)], true, &[]),
            // The next one is published already.
            (
                &[("a", "RS256", NOW - AGE), ("b", "RS256", NOW + HOUR)],
                false,
                &[],
            ),
            (
                &[("a", "RS256", NOW - AGE), ("b", "RS256", NOW - 24 * HOUR)],
                false,
                &[],
            ),
            (
                &[("a", "RS256", NOW - AGE), ("b", "RS256", NOW - 25 * HOUR)],
                false,
                &["a"],
            ),
            // Another algorithm: kept as long as somebody may use it.
            (
                &[("a", "ES256", NOW - AGE), ("b", "RS256", NOW - 50 * DAY)],
                false,
                &[],
            ),
            (
                &[
                    ("a", "ES256", NOW - AGE - 2 * DAY),
                    ("b", "RS256", NOW - 50 * DAY),
                ],
                false,
                &["a"],
            ),
        ];
        for (keys, create, delete) in cases {
            let heads: Vec<_> = keys
                .iter()
                .map(|(kid, algorithm, from)| head(kid, algorithm, *from))
                .collect();
            let plan = plan(&heads, "RS256", AGE, NOW);
            assert_eq!(plan.create, create, "{keys:?}");
            assert_eq!(plan.delete, delete, "{keys:?}");
        }
    }
}
