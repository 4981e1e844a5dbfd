//! Dead letters and backoff for a transport that has none of its own.

mod entry;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod stories;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use self::{
    entry::Told,
    stories::{Known, Stories, shortened},
};
use super::{Origin, dead_letter};
use crate::{
    Capabilities, Clock, ConsumerLag, Cursor, Delivery, Effect, Error, EventConfig, EventInfo, EventName,
    Health, Item, LeaseToken, Message, Nack, Page, Passed, ReadRequest, Reason, Receipt, Result, RetryPolicy,
    Settled, Settlement, Story, SubscribeOptions, Subscription, Transport, Verb,
};

/// How long a message stays leased while its dead letter is written.
const BURIAL: Duration = Duration::from_secs(30);

/// Gives a transport that lacks them dead letters and the backoff schedule.
///
/// What another node needs for it rides in the lease's token: the attempt, the policy and the place. So any node buries
/// what any other delivered; of what went wrong in earlier attempts each knows only what it was told itself. A dead
/// letter is written before the message is acked, so that a crash between the two writes it again under the same id.
#[derive(Debug)]
pub struct DeadLetters {
    inner: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    stories: Stories,
}

/// What comes of a settlement before the transport is asked.
enum Plan {
    /// The transport is asked this, and its `Acked` means that.
    Ask(LeaseToken, Verb, Settled),
    /// It was answered already.
    Answered(Settled),
}

impl DeadLetters {
    /// Over `inner`, which does not claim `dead_letters`.
    #[must_use]
    pub fn over(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { inner, clock, stories: Stories::default() })
    }

    /// Takes in a delivery; `None` when its attempts were used up and it is a dead letter now.
    async fn admit(
        self: Arc<Self>,
        delivery: Delivery,
        policy: &Arc<RetryPolicy>,
    ) -> Result<Option<Delivery>> {
        let Some(token) = delivery.token().cloned() else { return Ok(Some(delivery)) };
        let first = self.stories.deliver(&token, &delivery.message, self.clock.now());
        let mut told = Told::of(&delivery, policy, first);
        if delivery.attempt > policy.max_deliver {
            told.attempt = policy.max_deliver;
            if let Some(known) = self.stories.of(&token) {
                self.bury(&token, &told, &known, Reason::MaxDeliver).await?;
            }
            self.ask(&token, Verb::Ack).await?;
            self.stories.end(&token);
            return Ok(None);
        }
        let (message, cursor, attempt) = (Arc::clone(&delivery.message), delivery.cursor, delivery.attempt);
        Ok(Some(Delivery::leased(told.around(token), message, cursor, attempt, self)))
    }

    /// Writes the dead letter; a message that is one already breeds no other.
    async fn bury(&self, token: &LeaseToken, told: &Told, known: &Known, reason: Reason) -> Result<()> {
        if token.event.is_dead_letter() {
            tracing::warn!(event = %token.event, id = %known.message.id, "a dead letter died again");
            return Ok(());
        }
        let origin = Origin { event: &token.event, holder: &token.holder, cursor: &told.cursor };
        let story = Story {
            offset: 0,
            reason,
            attempts: told.attempt,
            first_error: known.first_error.clone(),
            last_error: known.last_error.clone(),
            first_delivered_at: told.first_delivered_at,
        };
        let letter = dead_letter(&known.message, origin, &story, self.clock.now());
        let event = token.event.dead_letter()?;
        self.inner.register(&event, &EventConfig::default()).await?;
        self.inner.publish(&event, vec![letter]).await.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(())
    }

    /// The end of a message: its dead letter, if the token is still good.
    async fn end(
        &self,
        token: LeaseToken,
        told: &Told,
        reason: Reason,
        error: &str,
        meaning: Settled,
    ) -> Result<Plan> {
        let here = self.stories.fail(&token, error);
        // Nobody else may take it while its letter is written, and a stale token writes none.
        if self.inner.capabilities().extend {
            let held = self.ask(&token, Verb::Extend(BURIAL)).await?;
            if held != Settled::Extended {
                return Ok(Plan::Answered(held));
            }
        }
        let known = match here {
            Some(known) => Some(known),
            None => self.found(&token, told, error).await?,
        };
        if let Some(known) = known {
            self.bury(&token, told, &known, reason).await?;
        } else {
            tracing::warn!(event = %token.event, cursor = %told.cursor, "a message is gone before it died");
        }
        Ok(Plan::Ask(token, Verb::Ack, meaning))
    }

    /// What another node delivered, read again.
    async fn found(&self, token: &LeaseToken, told: &Told, error: &str) -> Result<Option<Known>> {
        let message = self.inner.find(&token.event, &told.cursor).await?;
        let error = Some(shortened(error).to_owned());
        Ok(message.map(|message| Known {
            message,
            first_delivered_at: told.first_delivered_at,
            first_error: error.clone(),
            last_error: error,
        }))
    }

    async fn ask(&self, token: &LeaseToken, verb: Verb) -> Result<Settled> {
        let asked = vec![Settlement { token: token.clone(), verb }];
        self.inner.settle(asked).await.pop().unwrap_or_else(|| Err(no_answer()))
    }

    /// What the transport is asked instead, and what its `Acked` then means.
    async fn plan(&self, settlement: Settlement) -> Result<Plan> {
        match settlement.verb {
            Verb::Reject { reason } => {
                let (told, token) = Told::read(&settlement.token)?;
                self.end(token, &told, Reason::Rejected, &reason, Settled::Rejected).await
            }
            Verb::Nack(nack) => {
                let (told, token) = Told::read(&settlement.token)?;
                let error = nack.error.as_deref().unwrap_or("nack without a reason");
                if told.attempt >= told.max_deliver {
                    return self.end(token, &told, Reason::MaxDeliver, error, Settled::Nacked).await;
                }
                self.stories.fail(&token, error);
                let delay = Some(nack.delay.unwrap_or_else(|| told.delay()));
                Ok(Plan::Ask(token, Verb::Nack(Nack { delay, ..nack }), Settled::Acked))
            }
            verb => Ok(Plan::Ask(Told::within(&settlement.token)?, verb, Settled::Acked)),
        }
    }

    /// What `Acked` meant, and the end of a story.
    fn conclude(&self, token: &LeaseToken, is_final: bool, meaning: Settled, settled: Settled) -> Settled {
        // A stale token says nothing of the delivery that came after it.
        if is_final && settled != Settled::Stale {
            self.stories.end(token);
        }
        if settled == Settled::Acked { meaning } else { settled }
    }
}

fn no_answer() -> Error {
    Error::internal("no answer to a settlement").with_effect(Effect::Unknown)
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

    async fn find(&self, event: &EventName, place: &Cursor) -> Result<Option<Arc<Message>>> {
        self.inner.find(event, place).await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let mut plans = Vec::with_capacity(batch.len());
        let mut asked = Vec::with_capacity(batch.len());
        for settlement in batch {
            plans.push(match self.plan(settlement).await {
                Ok(Plan::Ask(token, verb, meaning)) => {
                    let is_final = verb == Verb::Ack;
                    asked.push(Settlement { token: token.clone(), verb });
                    Ok((Some((token, is_final)), meaning))
                }
                Ok(Plan::Answered(settled)) => Ok((None, settled)),
                Err(error) => Err(error),
            });
        }
        let mut answers = self.inner.settle(asked).await.into_iter();
        let conclude = |plan: Result<(Option<(LeaseToken, bool)>, Settled)>| {
            let (asked, meaning) = plan?;
            let Some((token, is_final)) = asked else { return Ok(meaning) };
            let settled = answers.next().unwrap_or_else(|| Err(no_answer()))?;
            Ok(self.conclude(&token, is_final, meaning, settled))
        };
        plans.into_iter().map(conclude).collect()
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
