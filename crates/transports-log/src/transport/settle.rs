//! Settling: at once in memory, on disk before it is answered.

use std::{collections::BTreeMap, sync::Arc};

use busgate_core::{Effect, Moment, Outcome, Result, Settled, Settlement, Verb};

use super::LogTransport;
use crate::{
    lease::{Entry, Seat},
    store::StateKey,
};

impl LogTransport {
    pub(super) async fn settle_all(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let now = self.now();
        let mut changed = BTreeMap::new();
        let answers: Vec<_> =
            batch.iter().map(|settlement| self.settle_one(now, settlement, &mut changed)).collect();
        if changed.is_empty() {
            return answers.into_iter().map(|answer| answer.map(|(settled, _)| settled)).collect();
        }
        let kept = self.queue().keep(changed.into_values().collect()).await;
        let kept = kept.map_err(|error| error.with_effect(Effect::Unknown));
        let answer = |(settled, durable)| if durable { kept.clone().map(|()| settled) } else { Ok(settled) };
        answers.into_iter().map(|found| found.and_then(answer)).collect()
    }

    /// Settles in memory; answers whether the answer has to wait for the disk.
    fn settle_one(
        &self,
        now: Moment,
        settlement: &Settlement,
        changed: &mut BTreeMap<StateKey, Arc<Seat>>,
    ) -> Result<(Settled, bool)> {
        let token = &settlement.token;
        self.check_open()?;
        let entry = Entry::parse(&token.entry)?;
        let Some(event) = self.catalog.get(&token.event) else { return Ok((Settled::Unknown, false)) };
        let seat = event.seat(&token.holder).filter(|_| event.id == entry.event);
        let Some(seat) = seat else { return Ok((Settled::Unknown, false)) };
        let outcome = seat.settle(now, (entry, token.epoch), &settlement.verb, &event, self.queue());
        let durable = must_last(&outcome, &settlement.verb);
        if durable {
            changed.insert(seat.key(), seat);
        }
        Ok((outcome.settled(), durable))
    }
}

/// Leases don't outlive the process, so what only changes a lease needs no disk.
fn must_last(outcome: &Outcome, verb: &Verb) -> bool {
    match outcome {
        Outcome::Stale | Outcome::Unknown | Outcome::Extended(_) => false,
        Outcome::Released => matches!(verb, Verb::Release { counted: true }),
        Outcome::Acked | Outcome::Nacked(_) | Outcome::Rejected(_) | Outcome::DeadLettered(_) => true,
    }
}
