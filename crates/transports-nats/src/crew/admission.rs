//! Letting in what was delivered before: its attempts are those that count, and its earlier tokens are closed.

use std::{sync::Arc, time::Duration};

use busgate_core::{Error, Result};

use super::{Crew, Entry, Stand, state::Admission};
use crate::{
    delivery::{DONE, again},
    record::Record,
    records::RIVALS,
};

/// How long a message that came back waits for earlier ones that did: so they go on in their order.
const LINGER: Duration = Duration::from_millis(3);

/// How long a message waits when its record can't be had.
const LATER: Duration = Duration::from_secs(1);

impl Crew {
    /// Finds out, and closes, what is to be known and closed of a message that came again.
    pub(super) async fn admit(self: Arc<Self>, sequence: u64, epoch: u64, how: Admission) {
        let Some(entry) = self.state.lock().entry(sequence).filter(|it| it.epoch() == epoch).cloned() else {
            return;
        };
        let known = (entry.record, entry.number);
        let claim = async {
            match how {
                Admission::Done | Admission::Linger => Ok(Some(known)),
                Admission::Close => self.claim(&entry, Some(known)).await,
                Admission::LookUp => self.claim(&entry, None).await,
            }
        };
        let (admitted, ()) = tokio::join!(claim, tokio::time::sleep(LINGER));
        let unread = self.change(|state, wakes| {
            match admitted {
                Ok(Some((record, number))) => state.admit(sequence, epoch, record, number, wakes),
                Ok(None) => {
                    state.finish(sequence, wakes);
                    self.link.post(entry.reply, DONE);
                }
                Err(error) => {
                    tracing::warn!(event = %self.event.name, %error, "a message that came back has to wait for its record");
                    state.shift(sequence, Stand::Returned { is_open: true, due: None }, wakes);
                    self.link.post(entry.reply, again(LATER));
                }
            }
            // Nobody may be there to take it by now.
            state.unread(wakes)
        });
        self.send_all_back(unread);
        self.alarm.notify_one();
    }

    /// Closes all tokens before this delivery; `None` when the message is done by one of them.
    async fn claim(&self, entry: &Entry, known: Option<(Record, u64)>) -> Result<Option<(Record, u64)>> {
        let subject = self.record_of(entry.delivered.stamp.sequence);
        let mut known = known;
        for _ in 0..RIVALS {
            let (record, number) = match known.take() {
                Some(known) => known,
                None => self.records.get(&subject).await?,
            };
            if record.is_done {
                return Ok(None);
            }
            let before = entry.delivered.times.saturating_sub(1);
            let last = entry.epoch().saturating_sub(1);
            if record.delivered == before && record.is_closed {
                return Ok(Some((record, number)));
            }
            let lost = before.saturating_sub(record.delivered.max(1));
            let lost = record.lost.saturating_add(u32::try_from(lost).unwrap_or(u32::MAX));
            let closed = Record { delivered: before, lost, ..record.close(last) };
            if let Some(number) = self.records.put(&subject, closed, number).await? {
                return Ok(Some((closed, number)));
            }
        }
        Err(Error::unavailable("another node writes the same record"))
    }
}
