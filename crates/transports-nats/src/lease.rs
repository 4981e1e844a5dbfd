//! Settling a delivery that this node has, or whose node is gone.
//!
//! What this node holds for sure is settled by one request to the server. What may have gone to another meanwhile (its
//! lease ran out, its node died, the connection broke) is settled by its record first: whoever writes that wins.

use std::{sync::Arc, time::Duration};

use busgate_core::{Result, Settled, Verb};
use tokio::time::{Instant, sleep};

use crate::crew::{Crew, Entry, Stand, Wakes};

mod backoff;
mod by_record;
mod held;
mod orphan;
mod outcome;

/// How long to wait for what ends by itself.
const MOMENT: Duration = Duration::from_millis(2);

/// How a token is settled.
enum Plan {
    /// It says all.
    Answer(Settled),
    /// This node holds it for sure.
    Held(Box<Entry>),
    /// Another may hold it.
    Doubtful(Box<Entry>, Stand),
    /// Its lease has just run out, or something else is being done with it: what it says stands when that is over.
    Later,
}

impl Crew {
    /// Settles a token of this node.
    pub(crate) async fn settle(self: &Arc<Self>, sequence: u64, epoch: u64, verb: &Verb) -> Result<Settled> {
        loop {
            let (was, held, answer) = match self.plan(sequence, epoch, verb) {
                Plan::Later => {
                    sleep(MOMENT).await;
                    continue;
                }
                Plan::Answer(answer) => return Ok(answer),
                Plan::Held(entry) => (entry.stand, entry.epoch(), self.settle_held(&entry, verb).await),
                Plan::Doubtful(entry, was) => (was, epoch, self.settle_by_record(&entry, was, verb).await),
            };
            if answer.is_err() {
                // It is as it was: whoever asks again may be luckier, and its time runs on.
                self.restore(sequence, held, was);
            }
            // It came back to this very node meanwhile, which closed its record on the way: nobody has it yet.
            if matches!(answer, Ok(Settled::Stale)) && self.is_back(sequence, epoch) {
                continue;
            }
            return answer;
        }
    }

    fn is_back(&self, sequence: u64, epoch: u64) -> bool {
        self.state.lock().entry(sequence).is_some_and(|it| it.previous == Some(epoch))
    }

    fn plan(&self, sequence: u64, epoch: u64, verb: &Verb) -> Plan {
        let (now, mut wakes) = (Instant::now(), Wakes::default());
        let mut state = self.state.lock();
        // Every open token of this node is in the state.
        let Some(entry) = state.entry(sequence).cloned() else { return Plan::Answer(Settled::Stale) };
        if entry.epoch() != epoch {
            let is_open = entry.previous == Some(epoch) && self.is_certain(&entry, now);
            return match (entry.stand, verb) {
                (Stand::Admitting | Stand::Busy { .. }, _) if is_open => Plan::Later,
                (Stand::Ready | Stand::Returned { .. }, Verb::Release { .. }) if is_open => {
                    Plan::Answer(Settled::Released)
                }
                // It came back here, nobody took it, and it is back with the server: unless another node gets it first.
                (was @ Stand::Returned { .. }, Verb::Ack | Verb::Nack(_)) if is_open => {
                    Plan::Doubtful(Box::new(entry), was)
                }
                // It came back here, and nobody has taken it: what the last holder says still counts.
                (Stand::Ready, Verb::Ack | Verb::Nack(_)) if is_open => {
                    state.busy(sequence, &mut wakes);
                    Plan::Held(Box::new(entry))
                }
                _ => Plan::Answer(Settled::Stale),
            };
        }
        match entry.stand {
            Stand::Leased { .. } => {
                state.busy(sequence, &mut wakes);
                drop(state);
                if self.is_certain(&entry, now) {
                    Plan::Held(Box::new(entry))
                } else {
                    let was = entry.stand;
                    Plan::Doubtful(Box::new(entry), was)
                }
            }
            Stand::Returned { is_open: true, .. } => match verb {
                Verb::Release { .. } => Plan::Answer(Settled::Released),
                // Nobody has it any more for longer.
                Verb::Extend(_) => Plan::Answer(Settled::Stale),
                _ => {
                    let was = entry.stand;
                    Plan::Doubtful(Box::new(entry), was)
                }
            },
            // An extension, or a try that may fail, is no end: what this one says may count yet.
            Stand::Ending { .. } | Stand::Busy { .. } => Plan::Later,
            _ => Plan::Answer(Settled::Stale),
        }
    }

    fn restore(&self, sequence: u64, epoch: u64, was: Stand) {
        self.change(|state, wakes| {
            let is_so = |it: &Entry| it.epoch() == epoch && matches!(it.stand, Stand::Busy { .. });
            if state.entry(sequence).is_some_and(is_so) {
                state.shift(sequence, was, wakes);
            }
        });
        self.alarm.notify_one();
    }
}
