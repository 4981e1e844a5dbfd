//! Settling what another node may hold by now: by the record of the message, which whoever writes first wins.

use busgate_core::{Error, Result, Settled, Verb};

use crate::{
    crew::{Crew, Entry, Stand},
    delivery::{DONE, IN_PROGRESS},
    record::Record,
    records::RIVALS,
};

impl Crew {
    /// Settles by the record of the message: whoever writes it first wins.
    pub(super) async fn settle_by_record(&self, entry: &Entry, was: Stand, verb: &Verb) -> Result<Settled> {
        let (sequence, epoch) = (entry.delivered.stamp.sequence, entry.epoch());
        let subject = self.record_of(sequence);
        for _ in 0..RIVALS {
            let (record, number) = self.records.get(&subject).await?;
            if *verb == Verb::Ack && record.is_done_by(epoch) {
                // An earlier try wrote it down, and its answer was lost.
                return self.tell_done(entry).await;
            }
            if !record.is_open(epoch) {
                if was.is_held() {
                    // Forgotten: what others wrote is read when it comes back.
                    self.conclude(sequence, None);
                }
                return Ok(Settled::Stale);
            }
            if let Verb::Extend(duration) = verb {
                self.tell(&entry.reply, IN_PROGRESS).await?;
                self.extend(entry, *duration);
                return Ok(Settled::Extended);
            }
            let next = match verb {
                Verb::Ack => {
                    Record { is_done: true, delivered: entry.delivered.times, ..record.close(epoch) }
                }
                _ => next_record(entry, record, verb),
            };
            let Some(number) = self.records.put(&subject, next, number).await? else { continue };
            if *verb == Verb::Ack {
                return self.tell_done(entry).await;
            }
            return self.return_it(entry, next, number, verb).await;
        }
        Err(Error::unavailable("other nodes settle the same message"))
    }

    /// Tells the server of what is done by its record. Whatever becomes of this: who gets the message sees that.
    async fn tell_done(&self, entry: &Entry) -> Result<Settled> {
        self.tell(&entry.reply, DONE).await?;
        self.conclude(entry.delivered.stamp.sequence, None);
        Ok(Settled::Acked)
    }
}

/// What the record says of a delivery that ends by this verb, but for good.
pub(super) fn next_record(entry: &Entry, record: Record, verb: &Verb) -> Record {
    let (epoch, delivered) = (entry.epoch(), entry.delivered.times);
    match verb {
        // What ran out before is counted already.
        Verb::Nack(_) if entry.stand == Stand::Ready => Record { delivered, ..record.close(epoch) },
        Verb::Nack(_) => Record { delivered, ..record.count(epoch).close(epoch) },
        Verb::Release { counted: true } => Record { delivered, is_closed: false, ..record.count(epoch) },
        _ => Record { delivered, is_closed: false, ..record },
    }
}
