//! Deliveries that a crash made the group forget.

use std::sync::Arc;

use super::{
    EPOCHS_PER_GENERATION, Group, Keyed,
    entry::{Entry, State},
};

impl Group {
    /// Remembers a delivery of an earlier generation that happened after the last snapshot, so that its token settles
    /// the message as long as nobody of this generation has taken it. What is known already stays as it is.
    ///
    /// The caller vouches for the token, and that there is a message at `offset`.
    pub fn recall(&mut self, offset: u64, epoch: u64) {
        let generation = self.next_epoch - self.next_epoch % EPOCHS_PER_GENERATION;
        if epoch == 0 || epoch >= generation || !self.reach(offset) {
            return;
        }
        let Some(entry) = self.ledger.get_mut(offset) else { return };
        if entry.epoch < epoch && !matches!(entry.state, State::Dying { .. }) {
            entry.epoch = epoch;
            entry.attempts += 1;
            entry.open = true;
        }
    }

    /// Moves the frontier past `offset`, as it was before the crash; whether there is room for that.
    fn reach(&mut self, offset: u64) -> bool {
        let room = (self.max_held as u64).saturating_sub(self.ledger.held() as u64);
        if offset >= self.frontier.saturating_add(room) {
            return offset < self.frontier;
        }
        while self.frontier <= offset {
            self.ledger.insert(self.frontier, Entry::fresh(Keyed::Unknown, None, Arc::clone(&self.policy)));
            self.unlearned.push_back(self.frontier);
            self.frontier += 1;
        }
        true
    }
}
