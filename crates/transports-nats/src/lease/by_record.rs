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
        // What ran out before is counted already, and nobody has taken this one, whether it is here or back with the server.
        Verb::Nack(_) if entry.stand == Stand::Ready || entry.previous.is_some() => {
            Record { delivered, ..record.close(epoch) }
        }
        Verb::Nack(_) => Record { delivered, ..record.count(epoch).close(epoch) },
        Verb::Release { counted: true } => Record { delivered, is_closed: false, ..record.count(epoch) },
        _ => Record { delivered, is_closed: false, ..record },
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::{Nack, Timestamp};
    use tokio::time::Instant;

    use super::*;
    use crate::delivery::{Delivered, Stamp};

    /// The second delivery of a message, whose first holder's token is `previous`.
    fn entry(stand: Stand, previous: Option<u64>) -> Entry {
        let stamp = Stamp { sequence: 7, published: Timestamp::default() };
        Entry {
            delivered: Delivered { stamp, times: 2, epoch: 9, pending: 0 },
            reply: "reply".into(),
            record: Record::default(),
            number: 0,
            touched: Instant::now(),
            generation: 0,
            is_usurped: false,
            stand,
            previous,
            message: None,
            policy: None,
        }
    }

    #[tokio::test]
    async fn a_delivery_that_nobody_took_is_no_attempt() {
        let first_ran_out = Record::default().count(8);
        let nack = Verb::Nack(Nack { delay: None, error: None });
        let returned = Stand::Returned { is_open: true, due: None };
        for (stand, previous, attempts) in
            [(returned, Some(8), 1), (Stand::Ready, Some(8), 1), (returned, None, 2)]
        {
            let next = next_record(&entry(stand, previous), first_ran_out, &nack);
            assert_eq!(next.attempts(), attempts, "{stand:?} {previous:?}");
            assert!(!next.is_open(9), "{stand:?} {previous:?}");
        }
    }
}
