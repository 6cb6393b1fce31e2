//! Named and sealed things: destinations, fragments, certificates and what else there is.

use super::connection::{Transaction, execute, read, read_within};
use super::events::{Action, Subject, note};
use super::labels::insert_labels;
use super::{Database, DbError, HeadRow, ItemRow, Kind, Place, Written};

/// An item to be written with its labels.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// What is kept.
    pub row: ItemRow,
    /// Labels and values.
    pub labels: Vec<(String, String)>,
}

/// Is shown the sealed content that a write is about to replace or remove, and at which position of the call its item
/// stands. Runs while the lock of writers is held, so that no other write comes in between.
pub(crate) type Seen<'a> = &'a mut (dyn FnMut(usize, &[u8]) + Send);

impl Database {
    /// Adds items to one place in one transaction, up to `limit` in all; what became of each.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn insert_items(
        &self,
        kind: Kind,
        place: &Place,
        items: &[NewItem],
        limit: u32,
    ) -> Result<Vec<Written>, DbError> {
        let mut transaction = self.begin().await?;
        let mut count = count(&mut transaction, kind, place).await?;
        let mut written = Vec::with_capacity(items.len());
        for NewItem { row, labels } in items {
            if count >= i64::from(limit) {
                written.push(Written::Full);
                continue;
            }
            if !insert(&mut transaction, kind, place, row).await? {
                written.push(Written::Duplicate);
                continue;
            }
            insert_labels(&mut transaction, kind, place, &row.name, labels).await?;
            count += 1;
            written.push(Written::Done);
        }
        let names = items.iter().map(|item| item.row.name.as_str());
        self.finish(transaction, kind, place, Action::Created, names.zip(&written))
            .await?;
        Ok(written)
    }

    /// Replaces items of one place in one transaction, with an expected version only if they still have it. Labels stay.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn replace_items(
        &self,
        kind: Kind,
        place: &Place,
        rows: &[ItemRow],
        expected: Option<&str>,
    ) -> Result<Vec<Written>, DbError> {
        self.replace_items_seen(kind, place, rows, expected, &mut |_, _| {})
            .await
    }

    /// As [`replace_items`](Self::replace_items), and shows what was there.
    pub(crate) async fn replace_items_seen(
        &self,
        kind: Kind,
        place: &Place,
        rows: &[ItemRow],
        expected: Option<&str>,
        seen: Seen<'_>,
    ) -> Result<Vec<Written>, DbError> {
        let mut transaction = self.begin().await?;
        let mut written = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let (state, sealed) = held(&mut transaction, kind, place, &row.name, expected).await?;
            if state == Written::Done {
                seen(index, &sealed);
                execute!(
                    &mut transaction,
                    "UPDATE items SET sealed = $1, etag = $2, modified_ms = $3, renew_ms = $4 \
                     WHERE subaccount_id = $5 AND kind = $6 AND owner = $7 AND name = $8",
                    [
                        &row.sealed,
                        &row.etag,
                        row.modified_ms,
                        row.renew_ms,
                        &place.subaccount_id,
                        kind.as_str(),
                        &place.owner,
                        &row.name
                    ]
                )?;
            }
            written.push(state);
        }
        let names = rows.iter().map(|row| row.name.as_str());
        self.finish(transaction, kind, place, Action::Updated, names.zip(&written))
            .await?;
        Ok(written)
    }

    /// Removes an item.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn delete_item(
        &self,
        kind: Kind,
        place: &Place,
        name: &str,
        expected: Option<&str>,
    ) -> Result<Written, DbError> {
        self.delete_item_seen(kind, place, name, expected, &mut |_, _| {})
            .await
    }

    /// As [`delete_item`](Self::delete_item), and shows what was there.
    pub(crate) async fn delete_item_seen(
        &self,
        kind: Kind,
        place: &Place,
        name: &str,
        expected: Option<&str>,
        seen: Seen<'_>,
    ) -> Result<Written, DbError> {
        match self.try_delete_item(kind, place, name, expected, seen).await {
            // Room must be possible to make: the note of a deletion takes less than the notes of old changes.
            Err(DbError::Full { .. }) => {
                self.forget_events().await?;
                self.try_delete_item(kind, place, name, expected, seen).await
            }
            result => result,
        }
    }

    async fn try_delete_item(
        &self,
        kind: Kind,
        place: &Place,
        name: &str,
        expected: Option<&str>,
        seen: Seen<'_>,
    ) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let (state, sealed) = held(&mut transaction, kind, place, name, expected).await?;
        if state == Written::Done {
            seen(0, &sealed);
            execute!(
                &mut transaction,
                "DELETE FROM items WHERE subaccount_id = $1 AND kind = $2 AND owner = $3 AND name = $4",
                [&place.subaccount_id, kind.as_str(), &place.owner, name]
            )?;
        }
        self.finish(transaction, kind, place, Action::Deleted, [(name, &state)])
            .await?;
        Ok(state)
    }

    /// Notes what was done, and commits.
    async fn finish<'a>(
        &self,
        mut transaction: Transaction,
        kind: Kind,
        place: &Place,
        action: Action,
        written: impl IntoIterator<Item = (&'a str, &'a Written)>,
    ) -> Result<(), DbError> {
        let done = written.into_iter().filter(|(_, state)| **state == Written::Done);
        let subjects: Vec<_> = done.map(|(name, _)| Subject { kind, place, name }).collect();
        let last = note(&mut transaction, action, &subjects).await?;
        transaction.commit().await?;
        self.announce(last);
        Ok(())
    }

    /// One item.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn item(&self, kind: Kind, place: &Place, name: &str) -> Result<Option<ItemRow>, DbError> {
        read!(
            self,
            fetch_optional,
            "SELECT subaccount_id, owner, name, sealed, etag, created_ms, modified_ms, renew_ms FROM items \
             WHERE subaccount_id = $1 AND kind = $2 AND owner = $3 AND name = $4",
            [&place.subaccount_id, kind.as_str(), &place.owner, name]
        )
    }

    /// The next items of a place by name, after `after`.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn items_after(
        &self,
        kind: Kind,
        place: &Place,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ItemRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT subaccount_id, owner, name, sealed, etag, created_ms, modified_ms, renew_ms FROM items \
             WHERE subaccount_id = $1 AND kind = $2 AND owner = $3 AND name > $4 ORDER BY name LIMIT $5",
            [
                &place.subaccount_id,
                kind.as_str(),
                &place.owner,
                after,
                i64::from(limit)
            ]
        )
    }

    /// Items of a place by name, without the first `offset`.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn items_from(
        &self,
        kind: Kind,
        place: &Place,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<ItemRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT subaccount_id, owner, name, sealed, etag, created_ms, modified_ms, renew_ms FROM items \
             WHERE subaccount_id = $1 AND kind = $2 AND owner = $3 ORDER BY name LIMIT $4 OFFSET $5",
            [
                &place.subaccount_id,
                kind.as_str(),
                &place.owner,
                i64::from(limit),
                i64::try_from(offset).unwrap_or(i64::MAX)
            ]
        )
    }

    /// As [`items_after`](Self::items_after), without the content.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn heads_after(
        &self,
        kind: Kind,
        place: &Place,
        after: &str,
        limit: u32,
    ) -> Result<Vec<HeadRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT name, etag, modified_ms FROM items \
             WHERE subaccount_id = $1 AND kind = $2 AND owner = $3 AND name > $4 ORDER BY name LIMIT $5",
            [
                &place.subaccount_id,
                kind.as_str(),
                &place.owner,
                after,
                i64::from(limit)
            ]
        )
    }

    /// How many items a place has.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn count_items(&self, kind: Kind, place: &Place) -> Result<u64, DbError> {
        let (count,): (i64,) = read!(
            self,
            fetch_one,
            COUNT,
            [&place.subaccount_id, kind.as_str(), &place.owner]
        )?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Items of all places on which work is due, longest due first.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn due_items(&self, kind: Kind, now_ms: i64, limit: u32) -> Result<Vec<ItemRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT subaccount_id, owner, name, sealed, etag, created_ms, modified_ms, renew_ms FROM items \
             WHERE renew_ms <= $1 AND kind = $2 ORDER BY renew_ms LIMIT $3",
            [now_ms, kind.as_str(), i64::from(limit)]
        )
    }

    /// The next items of all places, for work on everything that is kept: after kind, tenant, owner and name.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn all_items_after(
        &self,
        kind: Kind,
        place: &Place,
        name: &str,
        limit: u32,
    ) -> Result<Vec<ItemRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT subaccount_id, owner, name, sealed, etag, created_ms, modified_ms, renew_ms FROM items \
             WHERE kind = $1 AND (subaccount_id, owner, name) > ($2, $3, $4) \
             ORDER BY subaccount_id, owner, name LIMIT $5",
            [
                kind.as_str(),
                &place.subaccount_id,
                &place.owner,
                name,
                i64::from(limit)
            ]
        )
    }

    /// Puts another encryption of the same content in place of items that are still the same version; their versions stay.
    /// How many it were. One transaction: give it some hundred at most, since nobody else writes meanwhile.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn reseal_items(&self, kind: Kind, rows: &[ItemRow]) -> Result<u64, DbError> {
        let mut transaction = self.begin().await?;
        let mut changed = 0;
        for row in rows {
            changed += execute!(
                &mut transaction,
                "UPDATE items SET sealed = $1 \
                 WHERE subaccount_id = $2 AND kind = $3 AND owner = $4 AND name = $5 AND etag = $6",
                [
                    &row.sealed,
                    &row.subaccount_id,
                    kind.as_str(),
                    &row.owner,
                    &row.name,
                    &row.etag
                ]
            )?;
        }
        transaction.commit().await?;
        Ok(changed)
    }
}

const COUNT: &str = "SELECT COUNT(*) FROM items WHERE subaccount_id = $1 AND kind = $2 AND owner = $3";

async fn count(transaction: &mut Transaction, kind: Kind, place: &Place) -> Result<i64, DbError> {
    let (count,): (i64,) = read_within!(
        transaction,
        fetch_one,
        COUNT,
        [&place.subaccount_id, kind.as_str(), &place.owner]
    )?;
    Ok(count)
}

async fn insert(
    transaction: &mut Transaction,
    kind: Kind,
    place: &Place,
    row: &ItemRow,
) -> Result<bool, DbError> {
    let inserted = execute!(
        transaction,
        "INSERT INTO items (kind, subaccount_id, owner, name, sealed, etag, created_ms, modified_ms, renew_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        [
            kind.as_str(),
            &place.subaccount_id,
            &place.owner,
            &row.name,
            &row.sealed,
            &row.etag,
            row.created_ms,
            row.modified_ms,
            row.renew_ms
        ]
    )?;
    Ok(inserted == 1)
}

/// Whether an item exists and is the expected version, and its content; `Done` means that it may be written.
pub(super) async fn held(
    transaction: &mut Transaction,
    kind: Kind,
    place: &Place,
    name: &str,
    expected: Option<&str>,
) -> Result<(Written, Vec<u8>), DbError> {
    let held: Option<(String, Vec<u8>)> = read_within!(
        transaction,
        fetch_optional,
        "SELECT etag, sealed FROM items WHERE subaccount_id = $1 AND kind = $2 AND owner = $3 AND name = $4",
        [&place.subaccount_id, kind.as_str(), &place.owner, name]
    )?;
    Ok(match (held, expected) {
        (None, _) => (Written::Missing, Vec::new()),
        (Some((etag, _)), Some(expected)) if etag != expected => (Written::Changed, Vec::new()),
        (Some((_, sealed)), _) => (Written::Done, sealed),
    })
}
