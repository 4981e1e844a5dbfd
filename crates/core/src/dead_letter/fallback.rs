//! Dead letters and backoff for a transport that has none of its own.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;

use super::{Origin, dead_letter};
use crate::{
    Capabilities, Clock, ConsumerLag, Cursor, Delivery, Effect, Error, EventConfig, EventInfo, EventName,
    Health, Holder, Item, LeaseToken, MAX_ERROR_BYTES, Message, Nack, Page, Passed, ReadRequest, Reason,
    Receipt, Result, RetryPolicy, Settled, Settlement, Story, SubscribeOptions, Subscription, Timestamp,
    Transport, Verb,
};

/// How many unsettled messages it remembers the story of.
const MAX_STORIES: usize = 65_536;

/// Gives a transport that lacks them dead letters and the backoff schedule.
///
/// What another node delivered is not known here: a reject of it comes back, and becomes a dead letter when its
/// attempts are used up. A dead letter is written before the message is acked, so that a crash between the two writes
/// it again under the same id.
#[derive(Debug)]
pub struct DeadLetters {
    inner: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    stories: Mutex<Stories>,
}

/// A message, as one group sees it.
type Place = (EventName, Holder, Bytes);

/// The last delivery of a message, and what went wrong so far.
#[derive(Clone, Debug)]
struct Held {
    message: Arc<Message>,
    cursor: Cursor,
    epoch: u64,
    attempt: u32,
    policy: Arc<RetryPolicy>,
    first_delivered_at: Timestamp,
    first_error: Option<String>,
    last_error: Option<String>,
}

#[derive(Debug, Default)]
struct Stories {
    held: HashMap<Place, Held>,
    order: VecDeque<Place>,
}

impl Stories {
    fn deliver(&mut self, place: Place, next: Held) {
        if let Some(held) = self.held.get_mut(&place) {
            (held.epoch, held.attempt) = (next.epoch, next.attempt);
            return;
        }
        self.order.push_back(place.clone());
        self.held.insert(place, next);
        while self.held.len() > MAX_STORIES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.held.remove(&oldest);
        }
        if self.order.len() > 2 * MAX_STORIES {
            self.order.retain(|place| self.held.contains_key(place));
        }
    }

    /// The story of the delivery that `token` is of, with one more error.
    fn fail(&mut self, token: &LeaseToken, error: &str) -> Option<Held> {
        let held = self.held.get_mut(&place(token)).filter(|held| held.epoch == token.epoch)?;
        let error = error.get(..error.floor_char_boundary(MAX_ERROR_BYTES)).unwrap_or_default();
        held.first_error.get_or_insert_with(|| error.to_owned());
        held.last_error = Some(error.to_owned());
        Some(held.clone())
    }
}

fn place(token: &LeaseToken) -> Place {
    (token.event.clone(), token.holder.clone(), token.entry.clone())
}

impl DeadLetters {
    /// Over `inner`, which does not claim `dead_letters`.
    #[must_use]
    pub fn over(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { inner, clock, stories: Mutex::default() })
    }

    /// Takes in a delivery; `None` when its attempts were used up and it is a dead letter now.
    async fn admit(
        self: Arc<Self>,
        delivery: Delivery,
        policy: &Arc<RetryPolicy>,
    ) -> Result<Option<Delivery>> {
        let Some(token) = delivery.token().cloned() else { return Ok(Some(delivery)) };
        let held = Held {
            message: Arc::clone(&delivery.message),
            cursor: delivery.cursor.clone(),
            epoch: token.epoch,
            attempt: delivery.attempt,
            policy: Arc::clone(policy),
            first_delivered_at: self.clock.now(),
            first_error: None,
            last_error: None,
        };
        let place = place(&token);
        self.stories.lock().deliver(place.clone(), held.clone());
        if delivery.attempt > policy.max_deliver {
            let held = self.stories.lock().held.get(&place).cloned().unwrap_or(held);
            let held = Held { attempt: policy.max_deliver, ..held };
            self.bury(&token, &held, Reason::MaxDeliver).await?;
            let settled = self.inner.settle(vec![Settlement { token, verb: Verb::Ack }]).await;
            settled.into_iter().collect::<Result<Vec<_>>>()?;
            self.stories.lock().held.remove(&place);
            return Ok(None);
        }
        let (message, cursor, attempt) = (Arc::clone(&delivery.message), delivery.cursor, delivery.attempt);
        Ok(Some(Delivery::leased(token, message, cursor, attempt, self)))
    }

    /// Writes the dead letter; a message that is one already breeds no other.
    async fn bury(&self, token: &LeaseToken, held: &Held, reason: Reason) -> Result<()> {
        if token.event.is_dead_letter() {
            tracing::warn!(event = %token.event, id = %held.message.id, "a dead letter died again");
            return Ok(());
        }
        let origin = Origin { event: &token.event, holder: &token.holder, cursor: &held.cursor };
        let story = Story {
            offset: 0,
            reason,
            attempts: held.attempt,
            first_error: held.first_error.clone(),
            last_error: held.last_error.clone(),
            first_delivered_at: held.first_delivered_at,
        };
        let letter = dead_letter(&held.message, origin, &story, self.clock.now());
        let event = token.event.dead_letter()?;
        self.inner.register(&event, &EventConfig::default()).await?;
        self.inner.publish(&event, vec![letter]).await.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(())
    }

    /// What the transport is asked instead, and what its `Acked` then means.
    async fn translate(&self, settlement: &Settlement) -> Result<(Verb, Settled)> {
        let token = &settlement.token;
        match &settlement.verb {
            Verb::Reject { reason } => {
                let held = self.stories.lock().fail(token, reason);
                let Some(held) = held else {
                    let at_once =
                        Nack { delay: Some(std::time::Duration::ZERO), error: Some(reason.clone()) };
                    return Ok((Verb::Nack(at_once), Settled::Acked));
                };
                self.bury(token, &held, Reason::Rejected).await?;
                Ok((Verb::Ack, Settled::Rejected))
            }
            Verb::Nack(nack) => {
                let error = nack.error.as_deref().unwrap_or("nack without a reason");
                let held = self.stories.lock().fail(token, error);
                let Some(held) = held else { return Ok((settlement.verb.clone(), Settled::Acked)) };
                if held.attempt >= held.policy.max_deliver {
                    self.bury(token, &held, Reason::MaxDeliver).await?;
                    return Ok((Verb::Ack, Settled::Nacked));
                }
                let delay = nack.delay.unwrap_or_else(|| held.policy.delay_after(held.attempt));
                Ok((Verb::Nack(Nack { delay: Some(delay), error: nack.error.clone() }), Settled::Acked))
            }
            verb => Ok((verb.clone(), Settled::Acked)),
        }
    }

    /// What `Acked` meant, and the end of a story.
    fn conclude(&self, token: &LeaseToken, is_final: bool, meaning: Settled, settled: Settled) -> Settled {
        // A stale token says nothing of the delivery that came after it.
        if is_final && settled != Settled::Stale {
            self.stories.lock().held.remove(&place(token));
        }
        if settled == Settled::Acked { meaning } else { settled }
    }
}

#[async_trait]
impl Transport for DeadLetters {
    fn capabilities(&self) -> Capabilities {
        Capabilities { dead_letters: true, ..self.inner.capabilities() }
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        self.inner.register(event, config).await
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        self.inner.unregister(event).await
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.inner.events().await
    }

    async fn publish(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        self.inner.publish(event, batch).await
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.validate()?;
        let policy = Arc::new(options.retry.clone());
        let unlimited = RetryPolicy { max_deliver: u32::MAX, ..options.retry.clone() };
        let options = SubscribeOptions { retry: unlimited, ..options };
        let items = Arc::clone(&self.inner).subscribe(event, options).await?;
        let items = stream::unfold((items, self, policy), |(mut items, this, policy)| async move {
            loop {
                let item = match items.next().await? {
                    Ok(Item::Delivery(delivery)) => match Arc::clone(&this).admit(delivery, &policy).await {
                        Ok(None) => continue,
                        Ok(Some(delivery)) => Ok(Item::Delivery(delivery)),
                        // The lease runs out and the message is tried again.
                        Err(error) => Err(error),
                    },
                    other => other,
                };
                return Some((item, (items, this, policy)));
            }
        });
        Ok(Subscription::new(items))
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        self.inner.read(event, request).await
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        self.inner.passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let mut translated = Vec::with_capacity(batch.len());
        let mut asked = Vec::with_capacity(batch.len());
        for settlement in batch {
            translated.push(self.translate(&settlement).await.map(|(verb, meaning)| {
                asked.push(Settlement { token: settlement.token.clone(), verb: verb.clone() });
                (settlement.token, verb == Verb::Ack, meaning)
            }));
        }
        let mut answers = self.inner.settle(asked).await.into_iter();
        let no_answer = || Err(Error::internal("no answer to a settlement").with_effect(Effect::Unknown));
        let conclude = |entry: Result<_>| {
            let (token, is_final, meaning) = entry?;
            let settled = answers.next().unwrap_or_else(no_answer)?;
            Ok(self.conclude(&token, is_final, meaning, settled))
        };
        translated.into_iter().map(conclude).collect()
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        self.inner.lag(event).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
