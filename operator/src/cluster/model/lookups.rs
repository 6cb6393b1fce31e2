//! Look-ups: which are due, and what their answers change.

use landbridge_destination::DestinationSelector;
use landbridge_destination::serve::StoreChange;
use tokio::time::Instant;

use super::Model;
use crate::lookup::{Answer, Failure};
use crate::plan::Lookup;

impl Model {
    /// The next look-up that is due.
    pub fn next_lookup(&mut self, now: Instant) -> Option<(DestinationSelector, Option<String>)> {
        self.table.take(now)
    }

    /// When the next look-up is due.
    pub fn next_lookup_at(&self) -> Option<Instant> {
        self.table.next_due()
    }

    /// What a look-up brought. Tells proxies to drop what they keep, where the store has something else than before.
    pub fn looked_up(
        &mut self,
        selector: &DestinationSelector,
        result: Result<Answer, Failure>,
        now: Instant,
    ) -> Option<StoreChange> {
        let first = matches!(self.table.get(selector), Lookup::Pending);
        // `finish` looks at what matters here; the proxies use more of a destination, so for them any answer with a
        // new ETag is news.
        let known = self.table.etag(selector);
        let renewed =
            matches!(&result, Ok(Answer::Found { etag: Some(etag), .. }) if Some(etag.as_str()) != known);
        let decisive = self.table.finish(selector, result, now);
        if decisive {
            for key in self.referrers.get(selector).into_iter().flatten() {
                self.dirty.insert(key.clone());
            }
        }
        (!first && (renewed || decisive)).then(|| StoreChange {
            instance: selector.instance.clone(),
            names: Some(vec![selector.name.clone()]),
        })
    }

    /// The store says that something has changed: asks again for what is concerned.
    pub fn store_changed(&mut self, change: &StoreChange, default_instance: Option<&str>, now: Instant) {
        let of = |name: &Option<String>| name.as_deref().or(default_instance).map(ToOwned::to_owned);
        let instance = of(&change.instance);
        self.table.recall(now, |selector| {
            of(&selector.instance) == instance
                && change
                    .names
                    .as_ref()
                    .is_none_or(|names| names.iter().any(|name| selector.concerns(name)))
        });
    }
}
