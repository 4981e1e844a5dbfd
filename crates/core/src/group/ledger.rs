//! The unsettled messages of a group, with an index for every question that must not scan.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;

use super::entry::{Entry, State};

/// Invariant: each index says what the entries' states say; only [`Ledger::shift`] changes a state
/// (`nothing_is_lost_and_nothing_done_comes_back` checks them after each step).
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    members: HashMap<u64, BTreeSet<u64>>,
    leased: usize,
    delayed: usize,
}

impl Ledger {
    pub(super) fn insert(&mut self, offset: u64, entry: Entry) {
        let state = entry.state;
        self.entries.insert(offset, entry);
        self.index(offset, state);
    }

    pub(super) fn remove(&mut self, offset: u64) -> Option<Entry> {
        let entry = self.entries.remove(&offset)?;
        self.unindex(offset, entry.state);
        Some(entry)
    }

    pub(super) fn shift(&mut self, offset: u64, to: State) {
        let Some(entry) = self.entries.get_mut(&offset) else { return };
        let from = std::mem::replace(&mut entry.state, to);
        self.unindex(offset, from);
        self.index(offset, to);
    }

    /// The message heads its lane now; one that was never in anyone's hands is for the next taker.
    pub(super) fn promote(&mut self, offset: u64) {
        if self.state(offset) == Some(State::Parked) {
            self.shift(offset, State::Ready);
        }
    }

    /// For everything but the state.
    pub(super) fn get_mut(&mut self, offset: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&offset)
    }

    pub(super) fn state(&self, offset: u64) -> Option<State> {
        self.entries.get(&offset).map(|entry| entry.state)
    }

    pub(super) fn get(&self, offset: u64) -> Option<&Entry> {
        self.entries.get(&offset)
    }

    pub(super) fn iter_from(&self, offset: u64) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.range(offset..).map(|(offset, entry)| (*offset, entry))
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(offset, entry)| (*offset, entry))
    }

    /// Takes the earliest deadline off if it has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u64> {
        let &(at, offset) = self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(offset)
    }

    pub(super) fn unleased_below(&self, oldest: u64) -> Vec<u64> {
        let leased = |entry: &Entry| matches!(entry.state, State::Leased { .. });
        self.entries.range(..oldest).filter(|(_, entry)| !leased(entry)).map(|(offset, _)| *offset).collect()
    }

    pub(super) fn leased_to(&self, member: u64) -> Vec<u64> {
        self.members.get(&member).map(|offsets| offsets.iter().copied().collect()).unwrap_or_default()
    }

    pub(super) fn leased_by(&self, member: u64) -> usize {
        self.members.get(&member).map_or(0, BTreeSet::len)
    }

    pub(super) fn first_ready(&self) -> Option<u64> {
        self.ready.first().copied()
    }

    pub(super) fn first_offset(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(offset, _)| *offset)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(super) const fn deadlines(&self) -> &BTreeSet<(Instant, u64)> {
        &self.deadlines
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) const fn leased(&self) -> usize {
        self.leased
    }

    pub(super) const fn delayed(&self) -> usize {
        self.delayed
    }

    pub(super) fn held(&self) -> usize {
        self.entries.len() - self.leased
    }

    fn index(&mut self, offset: u64, state: State) {
        if let Some(at) = state.deadline() {
            self.deadlines.insert((at, offset));
        }
        match state {
            State::Ready => {
                self.ready.insert(offset);
            }
            State::Waiting(_) => self.delayed += 1,
            State::Leased { member, .. } => {
                self.leased += 1;
                self.members.entry(member).or_default().insert(offset);
            }
            State::Parked | State::Dying { .. } => {}
        }
    }

    fn unindex(&mut self, offset: u64, state: State) {
        if let Some(at) = state.deadline() {
            self.deadlines.remove(&(at, offset));
        }
        match state {
            State::Ready => {
                self.ready.remove(&offset);
            }
            State::Waiting(_) => self.delayed -= 1,
            State::Leased { member, .. } => {
                self.leased -= 1;
                if let Some(offsets) = self.members.get_mut(&member) {
                    offsets.remove(&offset);
                    if offsets.is_empty() {
                        self.members.remove(&member);
                    }
                }
            }
            State::Parked | State::Dying { .. } => {}
        }
    }
}
