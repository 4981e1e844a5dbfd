//! What a settlement comes to: a delivery that went back, is done, or has longer.

use std::time::Duration;

use async_nats::Subject;
use busgate_core::{ACK_WAIT_RANGE, Effect, MAX_NACK_DELAY, Result, RetryPolicy, Settled, Verb};
use bytes::Bytes;
use tokio::time::Instant;

use super::backoff::backoff;
use crate::{
    crew::{Crew, Entry, Stand},
    delivery::again,
    record::Record,
};

impl Crew {
    /// Gives it back to the server, now that its record says how it ended.
    pub(super) async fn return_it(
        &self,
        entry: &Entry,
        record: Record,
        number: u64,
        verb: &Verb,
    ) -> Result<Settled> {
        let sequence = entry.delivered.stamp.sequence;
        let (delay, is_open, settled) = match verb {
            Verb::Nack(nack) => {
                let by_schedule = || match &entry.policy {
                    Some(policy) => backoff(policy, record.attempts(), entry.epoch()),
                    None => backoff(&RetryPolicy::default(), record.attempts(), entry.epoch()),
                };
                let delay = nack.delay.unwrap_or_else(by_schedule).min(MAX_NACK_DELAY);
                (delay, false, Settled::Nacked)
            }
            _ => (Duration::ZERO, true, Settled::Released),
        };
        let due = Some(Instant::now() + delay);
        if let Some(known) = self.state.lock().entry_mut(sequence) {
            (known.record, known.number, known.message) = (record, number, None);
        }
        // Before the server hears of it: it may be back sooner than the answer. Not told, the server gives it back when
        // it does not hear of it: later than asked for, but never sooner.
        self.conclude(sequence, Some(Stand::Returned { is_open, due }));
        let told = self.tell(&entry.reply, again(delay)).await;
        told.map(|()| settled).map_err(|error| error.with_effect(Effect::Unknown))
    }

    /// Tells the server, and waits until it has heard.
    pub(super) async fn tell(&self, reply: &Subject, what: Bytes) -> Result<()> {
        self.link.ask(reply.clone(), what).await.map(drop)
    }

    /// The end of a delivery: it went back, or is done.
    pub(super) fn conclude(&self, sequence: u64, to: Option<Stand>) {
        let unread = self.change(|state, wakes| {
            match to {
                Some(stand) => state.shift(sequence, stand, wakes),
                None => state.finish(sequence, wakes),
            }
            state.unread(wakes)
        });
        self.send_all_back(unread);
        self.alarm.notify_one();
    }

    /// The lease runs on, from now.
    pub(super) fn extend(&self, entry: &Entry, duration: Duration) {
        let now = Instant::now();
        let deadline = now + duration.min(ACK_WAIT_RANGE.1);
        let sequence = entry.delivered.stamp.sequence;
        self.change(|state, wakes| {
            if state.entry(sequence).is_some_and(|it| it.epoch() == entry.epoch()) {
                let member = entry.stand.member().unwrap_or_default();
                state.touch(now, sequence);
                state.shift(sequence, Stand::Leased { member, deadline }, wakes);
            } else {
                state.adopt(Entry { touched: now, ..entry.clone() }, deadline, wakes);
            }
        });
        self.alarm.notify_one();
    }
}
