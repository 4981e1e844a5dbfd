//! What is set aside of one partition: messages that wait, so that the commit goes past them.
//!
//! Each has a record of its own in a compacted topic beside the event's, under the shelf's number. A commit names the
//! shelf, so it decides which records count: all of that number, and no others. A shelf belongs to one owner of the
//! partition, who draws its number; the next owner writes what it finds there to one of its own before its first commit,
//! and then deletes it. So a stale owner can write whatever it likes: nobody looks there any more, and what it can't do is
//! commit.
//!
//! A record is written before the commit that passes by its message, and deleted before the commit by which the message's
//! end is answered. When it is not known whether a record was written, all go to a new shelf.

mod choice;
mod record;
mod store;

use std::{collections::BTreeSet, time::Duration};

use busgate_core::{Group, Moment, Unfinished};
use tokio::time::Instant;

#[cfg(test)]
pub(crate) use self::record::parse as parse_record;
pub(crate) use self::store::{Shelved, Store, held_topic};
use crate::offsets::{Author, Tag};

/// How many messages of one partition are set aside, at most.
pub(crate) const MAX_ASIDE: usize = 100_000;

/// How long nothing more is set aside after a record could not be written.
const REST: Duration = Duration::from_secs(5);

/// How many left-over records are deleted with one commit.
const MAX_SWEPT: usize = 1000;

/// How many left-over records are remembered: what is forgotten is found by the next owner.
const MAX_LITTER: usize = 2 * MAX_ASIDE;

/// The messages of a partition that are set aside.
///
/// Invariant: what a commit passes by is finished or has a record here (`what_was_answered_never_comes_back`).
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// Its number; 0 before there is any.
    id: u64,
    /// Those with a record under this number.
    held: BTreeSet<u64>,
    /// Those whose record has to be written with the next commit.
    due: BTreeSet<u64>,
    /// Those whose record has to be deleted with the next commit.
    gone: BTreeSet<u64>,
    flight: Flight,
    /// Everything unfinished below is held.
    floor: u64,
    /// Records under other numbers, which the last commit may still name.
    abandoned: Vec<(u64, u64)>,
    /// Records that nobody needs.
    litter: Vec<(u64, u64)>,
    rests_until: Option<Instant>,
    /// Whether there is more to be set aside than the last commit did.
    is_behind: bool,
}

/// What is on its way to the broker.
#[derive(Debug, Default)]
struct Flight {
    records: BTreeSet<u64>,
    /// Those of the records that had none before.
    fresh: Vec<u64>,
    deletions: Vec<u64>,
    /// Records that nobody needs.
    swept: Vec<(u64, u64)>,
}

/// A record to be written, or to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Under which shelf.
    pub(crate) shelf: u64,
    /// Of which message.
    pub(crate) offset: u64,
    /// What it says; `None` deletes it.
    pub(crate) value: Option<Vec<u8>>,
    /// Whether the commit has to wait for it.
    pub(crate) is_needed: bool,
}

impl Shelf {
    /// The shelf of an owner that goes on with what an earlier one had set aside, and left there.
    pub(crate) fn resume(known: &[Unfinished], left: Vec<(u64, u64)>) -> Self {
        let due = known.iter().map(|known| known.offset).collect();
        Self { due, abandoned: left, ..Self::default() }
    }

    /// Begins anew; what is there is left over.
    pub(crate) fn clear(&mut self) {
        let (id, flight) = (self.id, std::mem::take(&mut self.flight));
        let left = self.held.iter().chain(&flight.records).chain(&self.gone).chain(&flight.deletions);
        self.abandoned.extend(left.map(|offset| (id, *offset)));
        let abandoned = std::mem::take(&mut self.abandoned);
        *self = Self { abandoned, ..Self::default() };
        self.bound();
    }

    /// Whether a commit can leave a message out, as it has a record or gets one first.
    pub(crate) fn covers(&self, offset: u64) -> bool {
        self.held.contains(&offset) || self.flight.records.contains(&offset)
    }

    /// How many unfinished messages have no record.
    pub(crate) fn left(&self, group: &Group) -> u64 {
        (group.held() + group.leased()).saturating_sub(self.held.len()) as u64
    }

    /// Everything unfinished below has a record.
    pub(crate) fn floor(&self, group: &Group) -> u64 {
        self.floor.max(group.watermark())
    }

    /// What a commit says of the shelf.
    pub(crate) fn tag(&self, delayed: usize) -> Option<Tag> {
        let fresh = self.flight.records.iter().filter(|offset| !self.held.contains(offset)).count();
        let count = (self.held.len() + fresh) as u64;
        (count > 0).then(|| Tag { id: self.id, count, delayed: count.min(delayed as u64) })
    }

    /// Takes in that something happened to a message.
    pub(crate) fn touch(&mut self, offset: u64) {
        if self.covers(offset) {
            self.due.insert(offset);
        }
    }

    /// Takes in that a message is finished.
    pub(crate) fn finish(&mut self, offset: u64) {
        self.due.remove(&offset);
        if self.covers(offset) {
            self.held.remove(&offset);
            self.gone.insert(offset);
        }
    }

    /// Takes in what is finished below `begin`: retention took it.
    pub(crate) fn trim(&mut self, group: &Group, begin: u64) {
        let known: BTreeSet<_> = [&self.held, &self.due, &self.flight.records]
            .into_iter()
            .flat_map(|offsets| offsets.range(..begin).copied())
            .filter(|offset| group.is_done(*offset))
            .collect();
        known.into_iter().for_each(|offset| self.finish(offset));
    }

    /// What has to be written before the next commit, which counts on it.
    pub(crate) fn plan(&mut self, group: &Group, author: Author, now: Moment, limit: usize) -> Vec<Entry> {
        let mut flight = Flight { records: std::mem::take(&mut self.due), ..Flight::default() };
        flight.records.retain(|offset| !group.is_done(*offset));
        flight.deletions.extend(std::mem::take(&mut self.gone));
        self.flight = flight;
        self.settle_floor(group);
        if !self.rests(now.at) {
            let fresh = choice::choose(self, group, author, now, limit);
            self.is_behind = fresh.len() >= choice::MAX_AT_ONCE;
            self.flight.records.extend(&fresh);
            self.flight.fresh = fresh;
        }
        if self.id == 0 && !self.flight.records.is_empty() {
            self.id = fastrand::u64(1..);
        }
        let record = |offset: &u64| {
            let known = group.unfinished_from(*offset).next().filter(|known| known.offset == *offset)?;
            Some(record::to_bytes(&known, now))
        };
        let entry =
            |offset: &u64, value, is_needed| Entry { shelf: self.id, offset: *offset, value, is_needed };
        let mut entries: Vec<_> =
            self.flight.records.iter().map(|offset| entry(offset, record(offset), true)).collect();
        entries.extend(self.flight.deletions.iter().map(|offset| entry(offset, None, true)));
        let swept = if self.rests(now.at) { 0 } else { MAX_SWEPT };
        self.flight.swept = self.litter.split_off(self.litter.len().saturating_sub(swept));
        let sweep = |&(shelf, offset): &_| Entry { shelf, offset, value: None, is_needed: false };
        entries.extend(self.flight.swept.iter().map(sweep));
        entries
    }

    /// What was planned is written.
    pub(crate) fn landed(&mut self, group: &Group) {
        let flight = std::mem::take(&mut self.flight);
        // What was finished meanwhile is to be deleted.
        self.held.extend(flight.records.difference(&self.gone));
        self.settle_floor(group);
    }

    /// What was planned is not to be written.
    pub(crate) fn undo(&mut self) {
        let flight = std::mem::take(&mut self.flight);
        self.due.extend(flight.records);
        self.due.retain(|offset| !flight.fresh.contains(offset));
        self.gone.extend(flight.deletions);
        self.litter.extend(flight.swept);
    }

    /// Nobody knows what of the plan was written: all goes to another shelf.
    pub(crate) fn failed(&mut self, now: Instant) {
        let flight = std::mem::take(&mut self.flight);
        let id = std::mem::take(&mut self.id);
        let gone = std::mem::take(&mut self.gone);
        let held = std::mem::take(&mut self.held);
        let known: BTreeSet<_> =
            held.iter().chain(&flight.records).chain(&gone).chain(&flight.deletions).collect();
        self.abandoned.extend(known.into_iter().map(|offset| (id, *offset)));
        self.litter.extend(flight.swept);
        self.due.extend(held);
        let fresh: BTreeSet<_> = flight.fresh.into_iter().collect();
        let again = flight.records.into_iter().filter(|offset| !gone.contains(offset));
        self.due.extend(again);
        self.due.retain(|offset| !fresh.contains(offset));
        (self.floor, self.rests_until) = (0, Some(now + REST));
        self.bound();
    }

    /// The commit is kept that counts on what was planned; whether there is more to do.
    pub(crate) fn kept(&mut self, now: Instant) -> bool {
        self.litter.append(&mut self.abandoned);
        !self.rests(now) && (!self.litter.is_empty() || self.is_behind)
    }

    /// Whether only what is needed is written, as it could not be a moment ago.
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    fn settle_floor(&mut self, group: &Group) {
        let next = group.unfinished_from(self.floor(group)).find(|known| !self.held.contains(&known.offset));
        self.floor = next.map_or_else(|| group.frontier(), |known| known.offset);
    }

    fn bound(&mut self) {
        let kept = self.abandoned.len().min(MAX_LITTER);
        self.abandoned.truncate(kept);
    }
}
