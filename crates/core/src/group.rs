//! Who has which message of one event: the pure state machine behind worker groups and named consumers.
//!
//! A [`Group`] knows offsets, leases, attempts and keys; it holds no message, reads no clock, starts no task and takes
//! no lock. Time is passed in, messages are asked for through the `source` of [`Group::take`]. Whoever drives it calls
//! [`Group::expire`] before it takes, sleeps until [`Group::next_deadline`], and buries what is reported dead.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use tokio::time::Instant;

pub use self::handover::{Standing, Unfinished};
pub use self::lanes::Keyed;
pub use self::outcome::{Moment, Outcome, Reason, Slot, Story, Taken};
use self::{entry::State, lanes::Lanes, ledger::Ledger, order::Order};
use crate::{ACK_WAIT_RANGE, MAX_NACK_DELAY, Nack, RetryPolicy, Verb};

mod entry;
mod handover;
mod lanes;
mod ledger;
mod order;
mod outcome;
mod recall;
mod snapshot;
mod take;
#[cfg(test)]
mod tests;

/// How many messages a group holds back (delayed, or parked behind their key) before it takes no fresh ones.
pub const DEFAULT_MAX_HELD: usize = 65_536;

/// The longest error text a story keeps, in bytes.
pub const MAX_ERROR_BYTES: usize = 512;

const HOLDER_GONE: &str = "the holder went away";
const LEASE_OVER: &str = "the lease ran out";

/// Epochs of one generation start at its number times this.
const EPOCHS_PER_GENERATION: u64 = 1 << 40;

/// The state of one group over one event.
///
/// Invariant: every offset below the frontier is either in the ledger or done (`nothing_is_lost_and_nothing_done_comes_back`).
#[derive(Debug)]
pub struct Group {
    frontier: u64,
    next_epoch: u64,
    policy: Arc<RetryPolicy>,
    ledger: Ledger,
    lanes: Lanes,
    order: Order,
    unlearned: VecDeque<u64>,
    max_held: usize,
    missed: u64,
}

impl Group {
    /// A group that begins with the message at `start`.
    ///
    /// `generation` must be greater after each restart of the owner (24 bits count): epochs of different generations
    /// never meet, so that a token of before the restart cannot settle a delivery of after it.
    #[must_use]
    pub fn new(start: u64, generation: u32) -> Self {
        Self {
            frontier: start,
            next_epoch: first_epoch(generation),
            policy: Arc::new(RetryPolicy::default()),
            ledger: Ledger::default(),
            lanes: Lanes::default(),
            order: Order::default(),
            unlearned: VecDeque::new(),
            max_held: DEFAULT_MAX_HELD,
            missed: 0,
        }
    }

    /// Holds back at most `max_held` messages before it takes no fresh ones.
    #[must_use]
    pub fn with_max_held(mut self, max_held: usize) -> Self {
        self.max_held = max_held.max(1);
        self
    }

    /// Settles the delivery of `offset` that `epoch` names. `jitter` (0 to 1) spreads a backoff by ±10 %.
    pub fn settle(&mut self, now: Moment, offset: u64, epoch: u64, verb: &Verb, jitter: f64) -> Outcome {
        let Some(entry) = self.ledger.get_mut(offset) else {
            return if offset < self.frontier { Outcome::Stale } else { Outcome::Unknown };
        };
        if entry.epoch == 0 {
            return Outcome::Unknown;
        }
        if entry.epoch != epoch || !entry.open {
            return Outcome::Stale;
        }
        match verb {
            Verb::Ack => {
                self.finish(offset);
                Outcome::Acked
            }
            Verb::Extend(duration) => {
                let deadline = now.at + (*duration).min(ACK_WAIT_RANGE.1);
                let member = entry.member;
                self.ledger.shift(offset, State::Leased { member, deadline });
                Outcome::Extended(deadline)
            }
            Verb::Release { .. } if !matches!(entry.state, State::Leased { .. }) => Outcome::Released,
            Verb::Release { counted: true } => {
                self.come_back(offset, HOLDER_GONE).map_or(Outcome::Released, Outcome::DeadLettered)
            }
            Verb::Release { counted: false } => {
                entry.attempts = entry.attempts.saturating_sub(1);
                self.ledger.shift(offset, State::Ready);
                Outcome::Released
            }
            Verb::Reject { reason } => {
                entry.failed(reason);
                self.condemn(offset, Reason::Rejected, None).map_or(Outcome::Unknown, Outcome::Rejected)
            }
            Verb::Nack(nack) => self.nack(now, offset, nack, jitter),
        }
    }

    /// Takes back what ran out by `now` and what is due again; answers those whose attempts are used up.
    ///
    /// A lease ends at its deadline exactly, and its message comes back at once with the attempt counted.
    pub fn expire(&mut self, now: Instant) -> Vec<Story> {
        let mut dead = Vec::new();
        while let Some(offset) = self.ledger.pop_due(now) {
            match self.ledger.state(offset) {
                Some(State::Leased { .. }) => dead.extend(self.come_back(offset, LEASE_OVER)),
                Some(State::Waiting(_)) => self.ledger.shift(offset, State::Ready),
                Some(State::Dying { reason, .. }) => dead.extend(self.condemn(offset, reason, None)),
                Some(State::Ready | State::Parked) | None => {}
            }
        }
        dead
    }

    /// Takes back all leases of a member that is gone; answers those whose attempts are used up.
    pub fn return_member(&mut self, member: u64) -> Vec<Story> {
        let offsets = self.ledger.leased_to(member);
        offsets.into_iter().filter_map(|offset| self.come_back(offset, HOLDER_GONE)).collect()
    }

    /// Forgets a message that was reported dead, once it is in the dead letters.
    pub fn bury(&mut self, offset: u64) {
        if matches!(self.ledger.state(offset), Some(State::Dying { .. })) {
            self.finish(offset);
        }
    }

    /// Has a message that was reported dead, but could not be put among the dead letters, reported again at `at`.
    pub fn bury_later(&mut self, offset: u64, at: Instant) {
        if let Some(State::Dying { reason, .. }) = self.ledger.state(offset) {
            self.ledger.shift(offset, State::Dying { reason, report: Some(at) });
        }
    }

    /// Settles what retention has dropped, everything below `oldest`. A lease that runs can still be settled.
    pub fn trim(&mut self, oldest: u64) {
        for offset in self.ledger.unleased_below(oldest) {
            self.lose(offset);
        }
        if self.frontier < oldest {
            self.missed += oldest - self.frontier;
            self.frontier = oldest;
        }
    }

    /// When [`Group::expire`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.ledger.next_deadline()
    }

    /// Everything below is done.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        self.ledger.first_offset().unwrap_or(self.frontier)
    }

    /// The first offset that was never asked for.
    #[must_use]
    pub const fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Whether the message at `offset` is done.
    #[must_use]
    pub fn is_done(&self, offset: u64) -> bool {
        offset < self.frontier && self.ledger.state(offset).is_none()
    }

    /// How many messages came back and wait for a taker.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ledger.ready()
    }

    /// How many leases run.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.ledger.leased()
    }

    /// Whether a taker may find something, when the next message to be published will stand at `end`.
    #[must_use]
    pub fn has_work(&self, end: u64) -> bool {
        let fresh = self.frontier < end && self.ledger.held() < self.max_held;
        fresh || self.ledger.ready() > 0 || !self.unlearned.is_empty()
    }

    /// Who has the message at `offset`, if it is leased.
    #[must_use]
    pub fn lessee(&self, offset: u64) -> Option<u64> {
        match self.ledger.state(offset)? {
            State::Leased { member, .. } => Some(member),
            _ => None,
        }
    }

    /// How many leases `member` has.
    #[must_use]
    pub fn leased_by(&self, member: u64) -> usize {
        self.ledger.leased_by(member)
    }

    /// How many messages wait for their time to come back.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.ledger.delayed()
    }

    /// How many messages below the frontier are not leased and not done.
    #[must_use]
    pub fn held(&self) -> usize {
        self.ledger.held()
    }

    /// How many messages were gone before anyone got them, since this was asked last.
    pub fn take_missed(&mut self) -> u64 {
        mem::take(&mut self.missed)
    }

    fn nack(&mut self, now: Moment, offset: u64, nack: &Nack, jitter: f64) -> Outcome {
        let Some(entry) = self.ledger.get_mut(offset) else { return Outcome::Unknown };
        entry.failed(nack.error.as_deref().unwrap_or("nack without a reason"));
        if entry.attempts >= entry.policy.max_deliver {
            let story = self.condemn(offset, Reason::MaxDeliver, None);
            return story.map_or(Outcome::Unknown, Outcome::DeadLettered);
        }
        entry.open = false;
        let delay = match nack.delay {
            Some(delay) => delay.min(MAX_NACK_DELAY),
            None => spread(entry.policy.delay_after(entry.attempts), jitter),
        };
        let due = now.at + delay;
        let state = if delay.is_zero() { State::Ready } else { State::Waiting(due) };
        self.ledger.shift(offset, state);
        Outcome::Nacked(due)
    }

    /// The end of an attempt that nobody settled. Its token still settles until someone takes the message.
    fn come_back(&mut self, offset: u64, error: &str) -> Option<Story> {
        let entry = self.ledger.get_mut(offset)?;
        entry.failed(error);
        if entry.attempts >= entry.policy.max_deliver {
            return self.condemn(offset, Reason::MaxDeliver, None);
        }
        self.ledger.shift(offset, State::Ready);
        None
    }

    fn condemn(&mut self, offset: u64, reason: Reason, report: Option<Instant>) -> Option<Story> {
        let entry = self.ledger.get_mut(offset)?;
        entry.open = false;
        let story = entry.story(offset, reason);
        self.ledger.shift(offset, State::Dying { reason, report });
        Some(story)
    }

    fn lose(&mut self, offset: u64) {
        if self.finish(offset) {
            self.missed += 1;
        }
    }

    fn finish(&mut self, offset: u64) -> bool {
        let Some(entry) = self.ledger.remove(offset) else { return false };
        let is_unlearned = || self.unlearned.binary_search(&offset).is_ok();
        if (entry.lane.is_some() || is_unlearned())
            && self.order.is_free(entry.lane, offset)
            && let Some(lane) = entry.lane
        {
            self.leave(lane, offset);
        }
        true
    }

    /// The next message of the key is free to go.
    fn leave(&mut self, lane: u64, offset: u64) {
        if let Some(next) = self.lanes.leave(lane, offset) {
            self.ledger.promote(next);
        }
    }
}

fn first_epoch(generation: u32) -> u64 {
    u64::from(generation).wrapping_mul(EPOCHS_PER_GENERATION).max(1)
}

/// `delay` with `jitter` from 0 to 1 spread over ±10 %.
fn spread(delay: Duration, jitter: f64) -> Duration {
    delay.mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0)).min(MAX_NACK_DELAY)
}
