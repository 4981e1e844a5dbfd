//! Leases that ran out: counted, and given back.

use std::{sync::Arc, time::Duration};

use busgate_core::Result;

use super::{Crew, Entry, Stand};
use crate::{delivery::again, record::Record};

/// When to try again where the server could not be told.
const LATER: Duration = Duration::from_millis(500);

impl Crew {
    /// Gives one back whose lease ran out, with its attempt counted.
    pub(super) async fn give_back(self: Arc<Self>, entry: Entry) {
        let sequence = entry.delivered.stamp.sequence;
        let told = self.tell_of(&entry).await;
        self.change(|state, wakes| match told {
            Ok(Some((record, number))) => {
                if let Some(known) = state.entry_mut(sequence) {
                    (known.record, known.number) = (record, number);
                }
                state.shift(sequence, Stand::Returned { is_open: true, due: None }, wakes);
                self.link.post(entry.reply, again(Duration::ZERO));
            }
            // Another node settled it, or took it.
            Ok(None) => state.finish(sequence, wakes),
            Err(error) => {
                tracing::debug!(event = %self.event.name, %error, "a lease that ran out can't be told yet");
                let member = entry.stand.member().unwrap_or_default();
                let deadline = tokio::time::Instant::now() + LATER;
                state.shift(sequence, Stand::Leased { member, deadline }, wakes);
            }
        });
        self.alarm.notify_one();
    }

    /// Counts the attempt; its token stays open. `None` when that is closed already.
    async fn tell_of(&self, entry: &Entry) -> Result<Option<(Record, u64)>> {
        let subject = self.record_of(entry.delivered.stamp.sequence);
        let (mut record, mut number) = (entry.record, entry.number);
        loop {
            if !record.is_open(entry.epoch()) {
                return Ok(None);
            }
            let next =
                Record { delivered: entry.delivered.times, is_closed: false, ..record.count(entry.epoch()) };
            if let Some(number) = self.records.put(&subject, next, number).await? {
                return Ok(Some((next, number)));
            }
            (record, number) = self.records.get(&subject).await?;
        }
    }
}
