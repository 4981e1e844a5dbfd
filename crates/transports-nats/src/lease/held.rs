//! Settling what this node holds for sure: one request to the server.

use std::time::Duration;

use busgate_core::{Effect, Error, Result, Settled, Verb};

use super::by_record::next_record;
use crate::{
    crew::{Crew, Entry, Stand},
    delivery::{DONE, IN_PROGRESS, again},
};

impl Crew {
    pub(super) async fn settle_held(&self, entry: &Entry, verb: &Verb) -> Result<Settled> {
        let sequence = entry.delivered.stamp.sequence;
        match verb {
            Verb::Ack => {
                self.tell(&entry.reply, DONE).await?;
                self.records.forget(entry.number);
                self.conclude(sequence, None);
                Ok(Settled::Acked)
            }
            Verb::Extend(duration) => {
                self.tell(&entry.reply, IN_PROGRESS).await?;
                self.extend(entry, *duration);
                Ok(Settled::Extended)
            }
            Verb::Release { counted: false } => {
                // Before the server hears of it: it may be back sooner than the answer.
                self.conclude(sequence, Some(Stand::Returned { is_open: true, due: None }));
                let told = self.tell(&entry.reply, again(Duration::ZERO)).await;
                told.map(|()| Settled::Released).map_err(|error| error.with_effect(Effect::Unknown))
            }
            Verb::Release { counted: true } | Verb::Nack(_) => {
                let next = next_record(entry, entry.record, verb);
                let subject = self.record_of(sequence);
                match self.records.put(&subject, next, entry.number).await? {
                    Some(number) => self.return_it(entry, next, number, verb).await,
                    None => self.settle_by_record(entry, entry.stand, verb).await,
                }
            }
            Verb::Reject { .. } => Err(Error::unsupported("dead letters are kept by the gateway")),
        }
    }
}
