//! Leases of what waits: kept alive while the program asks, given back when it does not.

use busgate_core::{AckKey, AckStatus, SettleAction, SettleAnswer};
use tokio::time::Instant;

use super::{Asker, Phase, Session};
use crate::stream::outbox::FRAME_ENTRIES;

/// For how many leases what waits is kept for a program that does not ask for it.
const HOARD_LEASES: u32 = 10;

impl<W> Session<W> {
    /// Keeps the leases of what waits alive, well before they run out; gives it back when the program has not asked for
    /// anything in a long time.
    pub(crate) fn tick(&mut self, now: Instant) {
        let due = self.wake_at().is_some_and(|at| at <= now);
        if !due || !matches!(self.phase, Phase::Up | Phase::Draining) {
            return;
        }
        let silent = self
            .asked_at
            .is_none_or(|at| now.saturating_duration_since(at) >= self.ack_wait() * HOARD_LEASES);
        if silent {
            self.give_back();
            return;
        }
        let action = SettleAction::Extend(self.ack_wait());
        let extend = |(number, ack_id)| (Some(number), (AckKey::Id(ack_id), action.clone()));
        let entries = self.intake.renew(now).into_iter().map(extend).collect();
        self.ask(entries);
    }

    /// When to tick next.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        if !self.plan.is_leased() || !self.plan.extend {
            return None;
        }
        Some(self.intake.oldest_lease()? + self.ack_wait() / 2)
    }

    pub(super) fn give_back(&mut self) {
        let release = |ack_id| (AckKey::Id(ack_id), SettleAction::Release { counted: false });
        let leases = self.intake.take_leases();
        self.ask(leases.into_iter().map(|ack_id| (None, release(ack_id))).collect());
    }

    /// Asks for what the session itself needs. A refusal loses the one that waits here under the number.
    fn ask(&mut self, mut entries: Vec<(Option<u64>, (AckKey, SettleAction))>) {
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(FRAME_ENTRIES));
            let (numbers, entries_now): (Vec<_>, Vec<_>) =
                std::mem::replace(&mut entries, rest).into_iter().unzip();
            self.outbox.push(entries_now, Asker::Session(numbers));
        }
    }

    pub(super) fn answered(
        &mut self,
        now: Instant,
        asker: Asker<W>,
        answers: Vec<SettleAnswer>,
    ) -> Option<(W, Vec<SettleAnswer>)> {
        match asker {
            Asker::Program(waiter) => return Some((waiter, answers)),
            Asker::Session(numbers) => {
                let waiting = numbers.into_iter().zip(answers);
                for (number, answer) in waiting.filter_map(|(number, answer)| Some((number?, answer))) {
                    match answer.status {
                        AckStatus::Extended => {}
                        AckStatus::Unavailable => self.intake.doubt(number, now, self.ack_wait()),
                        _ => self.intake.lost(number),
                    }
                }
            }
        }
        None
    }
}
