//! One round of decisions: what changed or is due.

use std::sync::Arc;

use jiff::Timestamp;
use landbridge_crds::conditions::{status, types};
use landbridge_crds::service_channel::ChannelStatus;
use landbridge_destination::channel::ChannelKey;

use super::{Care, Channels, Leading};
use crate::channels::decide::{self, Decision, Facts};
use crate::channels::finalizer::{self, Finalizer, Held, Left, Situation};
use crate::channels::{PlannedChannel, rfc3339};

impl Channels {
    /// Plans at most `limit` of what changed or is due. Call it again until it returns nothing.
    pub fn plan(&mut self, now: Timestamp, limit: usize) -> Vec<PlannedChannel> {
        while let Some((time, _)) = self.due.first()
            && *time <= now
        {
            let Some((_, key)) = self.due.pop_first() else {
                break;
            };
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.due = None;
            }
            self.dirty.insert(key);
        }
        let mut planned = Vec::new();
        while planned.len() < limit
            && let Some(key) = self.dirty.pop_first()
        {
            planned.extend(self.plan_one(&key, now));
        }
        planned
    }

    fn plan_one(&mut self, key: &ChannelKey, now: Timestamp) -> Option<PlannedChannel> {
        let entry = self.entries.get(key)?;
        if entry.care != Care::Ours {
            return self.leave(key, now);
        }
        let held = self.held.get(key);
        let winner = entry
            .ties
            .claim
            .as_ref()
            .and_then(|(claim, _)| self.claims.first(claim, None))
            .filter(|winner| *winner != key);
        let previous = entry
            .decided
            .as_ref()
            .map_or(&entry.resource.observed, |(status, _)| status);
        let facts = Facts {
            resource: &entry.resource,
            winner,
            services: &self.services,
            held,
            previous,
            now: &rfc3339(now),
        };
        let decision = decide::decide(facts, &self.options);
        let known = match held {
            Some(locations) if !locations.is_empty() => Held::Yes,
            None if self.leading != Leading::Settled => Held::Unknown,
            _ => Held::No,
        };
        let (finalizer, due) = finalizer::decide(Situation {
            present: entry.resource.has_finalizer(),
            deleted: entry.resource.deleted,
            skip: entry.resource.skip_cleanup,
            held: known,
            unheld_since: entry.unheld_since,
            now,
        });
        // A new leader does not take back what the one before knew from the proxies, before they had time to report.
        let waits = self.leading == Leading::Fresh && held.is_none() && was_programmed(previous, &decision);
        self.take_over(key, decision, finalizer, due, waits)
    }

    fn take_over(
        &mut self,
        key: &ChannelKey,
        decision: Decision,
        finalizer: Finalizer,
        due: Option<Timestamp>,
        waits: bool,
    ) -> Option<PlannedChannel> {
        let writes = self.leading != Leading::No;
        self.set_due(key, due);
        let entry = self.entries.get_mut(key)?;
        let route_changed = entry.route.as_deref() != decision.channel.as_ref();
        if route_changed {
            entry.route = decision.channel.map(Arc::new);
        }
        let (status, events) = match writes {
            true if waits => (entry.resource.observed.clone(), Vec::new()),
            true => (decision.status, decision.events),
            false => (decision.status, Vec::new()),
        };
        if writes {
            entry.decided = Some((status.clone(), finalizer));
        }
        Some(PlannedChannel {
            key: key.clone(),
            uid: entry.resource.uid.clone(),
            route: entry.route.clone(),
            route_changed,
            status,
            finalizer: if writes { finalizer } else { Finalizer::Keep },
            events,
        })
    }

    /// One of a namespace that is not looked after: it is not offered, and its status is left as it is.
    fn leave(&mut self, key: &ChannelKey, now: Timestamp) -> Option<PlannedChannel> {
        let writes = self.leading != Leading::No;
        let entry = self.entries.get_mut(key)?;
        let resource = &entry.resource;
        let (finalizer, due) = finalizer::leave(Left {
            present: resource.has_finalizer(),
            released: entry.care == Care::Released,
            deleted: resource.deleted,
            now,
        });
        let status = resource.observed.clone();
        let planned = PlannedChannel {
            key: key.clone(),
            uid: resource.uid.clone(),
            route: None,
            route_changed: entry.route.take().is_some(),
            status: status.clone(),
            finalizer: if writes { finalizer } else { Finalizer::Keep },
            events: Vec::new(),
        };
        entry.decided = writes.then_some((status, finalizer));
        self.set_due(key, due);
        Some(planned)
    }

    /// Has it looked at again at this time, should this replica write.
    fn set_due(&mut self, key: &ChannelKey, due: Option<Timestamp>) {
        let due = due.filter(|_| self.leading != Leading::No);
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.due != due) else {
            return;
        };
        if let Some(old) = std::mem::replace(&mut entry.due, due) {
            self.due.remove(&(old, key.clone()));
        }
        self.due.extend(due.map(|due| (due, key.clone())));
    }
}

/// Whether only the reports of the proxies are missing to say what the status says already.
fn was_programmed(previous: &ChannelStatus, decision: &Decision) -> bool {
    let programmed = |one: &&landbridge_crds::condition::Condition| one.type_ == types::PROGRAMMED;
    decision.channel.is_some()
        && previous
            .conditions
            .iter()
            .find(programmed)
            .is_some_and(|one| one.status == status::TRUE)
        && previous.address == decision.status.address
}
