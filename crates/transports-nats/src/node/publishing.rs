//! Publishing: a batch is sent as one pipeline, and what nobody took of it is sent again.

use std::time::Duration;

use busgate_core::{Effect, EventName, Message, Receipt, Result, Turn};
use tokio::time::{Instant, sleep};

use super::Node;
use crate::{codec, error, event::Event};

/// How long to wait before what nobody took is sent again.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(50)];

/// And from there on.
const LAST_PAUSE: Duration = Duration::from_millis(100);

impl Node {
    /// Publishes a batch; the turn is over when all of it is on its way.
    pub(crate) async fn publish(
        &self,
        event: &EventName,
        batch: &[Message],
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let found = match self.catalog.find(event).await {
            Ok(found) => found,
            Err(refused) => {
                let refused = refused.with_effect(Effect::None);
                return batch.iter().map(|_| Err(refused.clone())).collect();
            }
        };
        let all: Vec<&Message> = batch.iter().collect();
        let mut receipts = self.send(&found, &all, turn).await;
        if receipts.iter().any(Result::is_err) {
            self.send_again(event, batch, &mut receipts).await;
        }
        receipts
    }

    /// Sends all of them, and then waits for the answers.
    async fn send(&self, event: &Event, batch: &[&Message], turn: Turn) -> Vec<Result<Receipt>> {
        let (link, clock) = (&self.link, &*self.config.clock);
        let mut sent = Vec::with_capacity(batch.len());
        for message in batch {
            let outbound = codec::outbound(message, event.is_deduplicated, clock);
            sent.push(match link.check() {
                Ok(()) => {
                    let sending = link.context.send_publish(event.subject.clone(), outbound).await;
                    sending.map_err(|cause| error::publish(cause).with_effect(Effect::None))
                }
                Err(away) => Err(away),
            });
        }
        drop(turn);
        let mut receipts = Vec::with_capacity(sent.len());
        for (message, answer) in batch.iter().zip(sent) {
            let answer = match answer {
                Ok(answer) => answer.await.map_err(error::publish),
                Err(refused) => Err(refused),
            };
            receipts.push(answer.and_then(|ack| {
                let cursor = Some(event.before(ack.sequence.saturating_add(1)).to_cursor()?);
                Ok(Receipt { id: message.id.clone(), cursor, duplicate: ack.duplicate })
            }));
        }
        receipts
    }

    /// Sends again what nobody took: the event may be another by now, or its stream is about to listen, or the server is
    /// at work on the same id and can't tell yet.
    async fn send_again(&self, name: &EventName, batch: &[Message], receipts: &mut [Result<Receipt>]) {
        let deadline = Instant::now() + self.config.request_timeout;
        for pause in PAUSES.into_iter().chain(std::iter::repeat(LAST_PAUSE)) {
            let (mut again, mut slots) = (Vec::new(), Vec::new());
            for (message, receipt) in batch.iter().zip(receipts.iter_mut()) {
                if matches!(receipt, Err(refused) if error::is_not_taken(refused)) {
                    again.push(message);
                    slots.push(receipt);
                }
            }
            if again.is_empty() || self.link.check().is_err() || Instant::now() > deadline {
                return;
            }
            sleep(pause).await;
            let found = self.catalog.look_up(name).await;
            let answers = match found {
                Ok(event) => self.send(&event, &again, Turn::alone()).await,
                Err(refused) => again.iter().map(|_| Err(refused.clone())).collect(),
            };
            for (slot, answer) in slots.into_iter().zip(answers) {
                *slot = answer;
            }
        }
    }
}
