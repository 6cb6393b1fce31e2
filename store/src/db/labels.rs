//! Labels of items: a key with values each, by which lists are filtered.

use super::connection::{Transaction, execute, read, read_within};
use super::items::held;
use super::{Database, DbError, Kind, LabelRow, Place, Written};

const LABELS_OF: &str = "SELECT name, label, value FROM labels WHERE subaccount_id = $1 AND kind = $2 AND owner = $3 \
     AND name = $4 ORDER BY label, value";

/// Labels of an item before a change; those after it, if there is one.
pub(super) type LabelChange<'a> = &'a mut (dyn FnMut(Vec<LabelRow>) -> Option<Vec<(String, String)>> + Send);

impl Database {
    /// Labels of one item.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn labels_of(&self, kind: Kind, place: &Place, name: &str) -> Result<Vec<LabelRow>, DbError> {
        read!(
            self,
            fetch_all,
            LABELS_OF,
            [&place.subaccount_id, kind.as_str(), &place.owner, name]
        )
    }

    /// Names of the items that have this value of a label, sorted.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn labelled(
        &self,
        kind: Kind,
        place: &Place,
        label: &str,
        value: &str,
    ) -> Result<Vec<String>, DbError> {
        let rows: Vec<(String,)> = read!(
            self,
            fetch_all,
            "SELECT name FROM labels WHERE subaccount_id = $1 AND kind = $2 AND owner = $3 AND label = $4 \
             AND value = $5 ORDER BY name",
            [&place.subaccount_id, kind.as_str(), &place.owner, label, value]
        )?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }

    /// Changes the labels of an item. `change` sees those it has, one pair for each value, and says which it has then;
    /// `None` leaves them. No other write comes between.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn change_labels(
        &self,
        kind: Kind,
        place: &Place,
        name: &str,
        change: LabelChange<'_>,
    ) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let (state, _) = held(&mut transaction, kind, place, name, None).await?;
        if state == Written::Done {
            let before = read_within!(
                &mut transaction,
                fetch_all,
                LABELS_OF,
                [&place.subaccount_id, kind.as_str(), &place.owner, name]
            )?;
            if let Some(labels) = change(before) {
                execute!(
                    &mut transaction,
                    "DELETE FROM labels WHERE subaccount_id = $1 AND kind = $2 AND owner = $3 AND name = $4",
                    [&place.subaccount_id, kind.as_str(), &place.owner, name]
                )?;
                insert_labels(&mut transaction, kind, place, name, &labels).await?;
            }
        }
        transaction.commit().await?;
        Ok(state)
    }
}

pub(super) async fn insert_labels(
    transaction: &mut Transaction,
    kind: Kind,
    place: &Place,
    name: &str,
    labels: &[(String, String)],
) -> Result<(), DbError> {
    for (label, value) in labels {
        execute!(
            transaction,
            "INSERT INTO labels (kind, subaccount_id, owner, name, label, value) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            [
                kind.as_str(),
                &place.subaccount_id,
                &place.owner,
                name,
                label,
                value
            ]
        )?;
    }
    Ok(())
}
