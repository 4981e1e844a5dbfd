//! The messages of a crew: each at one stand, and found by where it stands.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use async_nats::Subject;
use tokio::time::Instant;

use super::entry::{Entry, Stand};

/// How many messages that went back are remembered; of the others the records tell.
const MAX_RETURNED: usize = 65_536;

/// Messages by their sequence.
///
/// Invariant: `held` counts the entries that are not returned, `ready` has those that are ready, `admitting` those that
/// are being admitted, `deadlines` those that are leased, `touched` all that are held; only [`Book::shift`] changes a
/// stand (`the_indexes_say_what_the_entries_say`).
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<u64, Entry>,
    ready: BTreeSet<u64>,
    admitting: BTreeSet<u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// In the order in which the server heard of them: sequence, epoch.
    touched: VecDeque<(Instant, u64, u64)>,
    /// In the order in which they went back: sequence, epoch.
    returned: VecDeque<(u64, u64)>,
    held: usize,
}

impl Book {
    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(&sequence)
    }

    pub(super) fn get_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&sequence)
    }

    /// Takes in one that is not held yet, in place of what was known of it.
    pub(super) fn insert(&mut self, sequence: u64, entry: Entry) {
        self.touched.push_back((entry.touched, sequence, entry.epoch()));
        self.entries.insert(sequence, entry);
    }

    /// Moves a message from one stand, which is the answer, to another.
    pub(super) fn shift(&mut self, sequence: u64, to: Stand) -> Option<Stand> {
        let entry = self.entries.get_mut(&sequence)?;
        let from = std::mem::replace(&mut entry.stand, to);
        let epoch = entry.epoch();
        match from {
            Stand::Ready => drop(self.ready.remove(&sequence)),
            Stand::Admitting => drop(self.admitting.remove(&sequence)),
            Stand::Leased { deadline, .. } => drop(self.deadlines.remove(&(deadline, sequence))),
            Stand::Busy { .. } | Stand::Ending { .. } | Stand::Returned { .. } => {}
        }
        match to {
            Stand::Ready => drop(self.ready.insert(sequence)),
            Stand::Admitting => drop(self.admitting.insert(sequence)),
            Stand::Leased { deadline, .. } => drop(self.deadlines.insert((deadline, sequence))),
            Stand::Returned { .. } => self.returned.push_back((sequence, epoch)),
            Stand::Busy { .. } | Stand::Ending { .. } => {}
        }
        self.held = self.held + usize::from(to.is_held()) - usize::from(from.is_held());
        self.forget_returned();
        Some(from)
    }

    fn forget_returned(&mut self) {
        while self.returned.len() > MAX_RETURNED {
            let Some((sequence, epoch)) = self.returned.pop_front() else { return };
            if self.entries.get(&sequence).is_some_and(|it| it.epoch() == epoch && !it.stand.is_held()) {
                self.entries.remove(&sequence);
            }
        }
    }

    /// Forgets one that is held, and in no index any more.
    pub(super) fn remove(&mut self, sequence: u64) {
        if self.entries.remove(&sequence).is_some() {
            self.held -= 1;
        }
        while let Some((_, sequence, epoch)) = self.touched.front()
            && self.entries.get(sequence).is_none_or(|entry| entry.epoch() != *epoch)
        {
            self.touched.pop_front();
        }
    }

    /// How many the server thinks that this node has.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn first_ready(&self) -> Option<u64> {
        self.ready.first().copied()
    }

    /// The last of those that are ready, last first.
    pub(super) fn last_ready(&self, count: usize) -> Vec<u64> {
        self.ready.iter().rev().take(count).copied().collect()
    }

    pub(super) fn first_admitting(&self) -> Option<u64> {
        self.admitting.first().copied()
    }

    pub(super) fn admitting(&self) -> impl Iterator<Item = u64> {
        self.admitting.iter().copied()
    }

    /// The lease that runs out first, and when.
    pub(super) fn next_deadline(&self) -> Option<(Instant, u64)> {
        self.deadlines.first().copied()
    }

    /// The server heard of it.
    pub(super) fn touch(&mut self, now: Instant, sequence: u64) {
        if let Some(entry) = self.entries.get_mut(&sequence) {
            entry.touched = now;
            self.touched.push_back((now, sequence, entry.epoch()));
        }
    }

    /// Those of whom the server should hear again, when it has not for `after`.
    pub(super) fn untouched(&mut self, now: Instant, after: Duration, generation: u64) -> Vec<Subject> {
        let mut quiet = Vec::new();
        while let Some(&(at, sequence, epoch)) = self.touched.front()
            && at + after <= now
        {
            self.touched.pop_front();
            let Some(entry) = self.entries.get_mut(&sequence) else { continue };
            if entry.epoch() == epoch && entry.touched == at && entry.stand.is_held() {
                entry.touched = now;
                // What an earlier connection had may be another's by now: that stays in doubt.
                if entry.generation == generation {
                    quiet.push(entry.reply.clone());
                }
                self.touched.push_back((now, sequence, epoch));
            }
        }
        quiet
    }

    /// What is here may be another's by now.
    pub(super) fn doubt(&mut self) {
        for entry in self.entries.values_mut() {
            entry.generation = u64::MAX;
        }
    }

    /// The same, but most is not, and the server goes on hearing of it.
    pub(super) fn usurp(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.is_usurped = true);
    }

    /// When there is something to do next, if the server must hear of everything after `after`.
    pub(super) fn next_duty(&self, after: Duration) -> Option<Instant> {
        let lease = self.deadlines.first().map(|(at, _)| *at);
        let touch = self.touched.front().map(|(at, ..)| *at + after);
        lease.into_iter().chain(touch).min()
    }

    /// How many leases run.
    pub(super) fn leased(&self) -> u64 {
        self.entries.values().filter(|it| it.stand.member().is_some()).count() as u64
    }

    /// How many were read ahead.
    pub(super) fn read_ahead(&self) -> u64 {
        (self.ready.len() + self.admitting.len()) as u64
    }

    /// How many this node knows to be held back until later.
    pub(super) fn delayed(&self, now: Instant) -> u64 {
        let later = |it: &&Entry| matches!(it.stand, Stand::Returned { due: Some(due), .. } if due > now);
        self.entries.values().filter(later).count() as u64
    }

    /// The leases of one member.
    pub(super) fn leases_of(&self, member: u64) -> Vec<u64> {
        let theirs = |it: &&Entry| matches!(it.stand, Stand::Leased { member: of, .. } if of == member);
        self.entries.values().filter(theirs).map(|it| it.delivered.stamp.sequence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Book {
        /// Those that stand so, in their order.
        pub(crate) fn standing(&self, fits: impl Fn(Stand) -> bool) -> BTreeSet<u64> {
            self.entries.iter().filter(|(_, it)| fits(it.stand)).map(|(sequence, _)| *sequence).collect()
        }

        /// Holds the indexes against the entries.
        pub(crate) fn check(&self) {
            assert_eq!(self.held, self.standing(Stand::is_held).len(), "held");
            assert_eq!(self.ready, self.standing(|stand| stand == Stand::Ready), "ready");
            assert_eq!(self.admitting, self.standing(|stand| stand == Stand::Admitting), "admitting");
            let deadlines: BTreeSet<u64> = self.deadlines.iter().map(|(_, sequence)| *sequence).collect();
            assert_eq!(deadlines, self.standing(|stand| matches!(stand, Stand::Leased { .. })), "leased");
            for sequence in self.standing(Stand::is_held) {
                let entry = &self.entries[&sequence];
                let kept = (entry.touched, sequence, entry.epoch());
                assert!(self.touched.contains(&kept), "the server would not hear of {sequence} again");
            }
        }
    }
}
