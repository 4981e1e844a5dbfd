//! Deliveries that are settled where their partition is read.

use busgate_core::{Moment, Outcome, Settled, Verb};
use tokio::sync::oneshot;

use super::{DELIVERED, State, wakes::Wakes};
use crate::lease::Entry;

/// One delivery to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Its place in the answers.
    pub(crate) index: usize,
    /// Which message.
    pub(crate) entry: Entry,
    /// Which delivery.
    pub(crate) epoch: u64,
    /// What to do.
    pub(crate) verb: Verb,
}

/// What became of those that could be settled here.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// By their place in the answers.
    pub(crate) answers: Vec<(usize, Settled)>,
    /// Those that hold only once they are committed.
    pub(crate) pending: Vec<(usize, Settled)>,
    /// Tells whether they are; what is not may have been settled by another owner, or be as it was.
    pub(crate) committed: Option<oneshot::Receiver<bool>>,
}

impl State {
    /// Settles what belongs to partitions that are held here.
    pub(in crate::group) fn settle<'a>(
        &mut self,
        now: Moment,
        asks: impl Iterator<Item = &'a Ask>,
        wakes: &mut Wakes,
    ) -> Settling {
        let (mut settling, mut touched) = (Settling::default(), Vec::new());
        let mut is_changed = false;
        for ask in asks {
            let partition = ask.entry.partition;
            let Some(track) = self.tracks.get_mut(&partition).filter(|track| track.settles()) else {
                continue;
            };
            let outcome = track.settle(now, (ask.entry.offset, ask.epoch), &ask.verb, fastrand::f64());
            let answer = (ask.index, outcome.settled());
            if matches!(outcome, Outcome::Stale | Outcome::Unknown) {
                settling.answers.push(answer);
                continue;
            }
            is_changed = true;
            if must_last(&outcome) {
                track.soil(now.at);
                if !touched.contains(&(partition, track.serial)) {
                    touched.push((partition, track.serial));
                }
                settling.pending.push(answer);
            } else {
                track.soil(now.at + DELIVERED);
                settling.answers.push(answer);
            }
            let deadline = track.group.next_deadline();
            self.arm(deadline, wakes);
        }
        if is_changed {
            self.seats.wake_full(wakes);
            self.wake_for_work(now.at, wakes);
        }
        if !touched.is_empty() {
            settling.committed = Some(self.waiters.add(touched));
            wakes.pump = true;
        }
        settling
    }
}

/// What a crash must not take back. A lease that was extended is one that runs out. One that was let go would run on with
/// the next owner, and hold its message up.
const fn must_last(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Stale | Outcome::Unknown | Outcome::Extended(_) => false,
        Outcome::Released
        | Outcome::Acked
        | Outcome::Nacked(_)
        | Outcome::Rejected(_)
        | Outcome::DeadLettered(_) => true,
    }
}
