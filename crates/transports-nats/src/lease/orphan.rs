//! Settling what was handed out by a node that is gone.

use std::{sync::Arc, time::Duration};

use busgate_core::{Result, Settled, Timestamp, Verb};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use crate::{
    crew::{Crew, Entry, Stand},
    delivery::{Delivered, Stamp, again},
    record::Record,
};

/// How much longer than an answer the word on a nack may take.
const ADVISED: Duration = Duration::from_millis(50);

/// What the server tells everyone of a nack.
#[derive(Deserialize)]
struct Naked {
    stream_seq: u64,
    consumer_seq: u64,
}

impl Crew {
    /// Settles a token of a node that is gone.
    pub(crate) async fn settle_orphan(
        self: &Arc<Self>,
        sequence: u64,
        epoch: u64,
        verb: &Verb,
    ) -> Result<Settled> {
        let known = self.state.lock().entry(sequence).cloned();
        let entry = match known {
            // It was extended here, or delivered here since.
            Some(known) if known.epoch() == epoch => return self.settle(sequence, epoch, verb).await,
            Some(known) if known.epoch() > epoch && known.stand.is_held() => return Ok(Settled::Stale),
            _ => self.orphan(sequence, epoch),
        };
        if !self.is_pending(&entry).await? {
            return Ok(Settled::Stale);
        }
        self.settle_by_record(&entry, entry.stand, verb).await
    }

    /// Whether the server still waits for the end of a delivery. No call tells; but of a nack it tells everyone, and only
    /// when it does. Its delay is what the server waits anyway, so that it changes nothing.
    async fn is_pending(&self, entry: &Entry) -> Result<bool> {
        let (stream, consumer) = (&self.event.stream, &self.consumer);
        let advisories = format!("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.{stream}.{consumer}");
        let mut advisories = self.link.subscribe(advisories).await?;
        self.tell(&entry.reply, again(self.ack_wait())).await?;
        // It was said before the answer; only its way here may be longer.
        let said = async {
            while let Some(message) = advisories.next().await {
                let naked = serde_json::from_slice::<Naked>(&message.payload);
                let wanted = (entry.delivered.stamp.sequence, entry.epoch());
                if naked.is_ok_and(|naked| (naked.stream_seq, naked.consumer_seq) == wanted) {
                    return true;
                }
            }
            false
        };
        Ok(timeout(ADVISED, said).await.unwrap_or(false))
    }

    /// A delivery as far as its token tells: how often there were others before is not known.
    fn orphan(&self, sequence: u64, epoch: u64) -> Entry {
        let (stream, consumer) = (&self.event.stream, &self.consumer);
        let published = Timestamp::default();
        Entry {
            delivered: Delivered { stamp: Stamp { sequence, published }, times: 0, epoch, pending: 0 },
            reply: format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.{epoch}.0.0").into(),
            record: Record::default(),
            number: 0,
            touched: Instant::now(),
            generation: u64::MAX,
            is_usurped: false,
            stand: Stand::Returned { is_open: true, due: None },
            previous: None,
            message: None,
            policy: None,
        }
    }
}
