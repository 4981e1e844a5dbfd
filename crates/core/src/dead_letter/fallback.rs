//! Dead letters and backoff for a transport that has none of its own.

mod burial;
mod entry;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod note;
mod notes;
mod past;
mod stories;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use self::{
    entry::Told,
    note::{Note, Subject},
    notes::Notes,
    stories::Stories,
};
use crate::{
    Capabilities, Clock, ConsumerLag, Cursor, Delivery, Effect, Error, EventConfig, EventInfo, EventName,
    Health, Item, LeaseToken, Message, Nack, Page, Passed, ReadRequest, Reason, Receipt, Result, RetryPolicy,
    Settled, Settlement, SubscribeOptions, Subscription, Transport, Turn, Verb,
};

/// What went wrong where nobody said what.
const NO_REASON: &str = "nack without a reason";

/// Gives a transport that lacks them dead letters and the backoff schedule.
///
/// What another node needs for it rides in the lease's token: the attempt, the policy and the place. So any node buries
/// what any other delivered. What went wrong in earlier attempts each node remembers of what it was told itself; and
/// where the transport is durable and can be read again, a nack that says why is written down there as well, for the
/// node that buries the message without having seen its beginning. A dead letter is written before the message is
/// acked, so that a crash between the two writes it again under the same id.
#[derive(Debug)]
pub struct DeadLetters {
    inner: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    stories: Stories,
    notes: Notes,
}

/// What comes of a settlement before the transport is asked.
enum Plan {
    /// The transport is asked.
    Ask(Asked),
    /// It was answered already.
    Answered(Settled),
}

/// What the transport is asked instead of a settlement.
struct Asked {
    token: LeaseToken,
    /// The message's own place, where it was buried.
    place: Option<Cursor>,
    verb: Verb,
    /// What its `Acked` then means.
    meaning: Settled,
    /// What is written down before.
    note: Option<Box<Note>>,
}

/// What is left to know of a settlement that the transport was asked.
struct Pending {
    token: LeaseToken,
    place: Option<Cursor>,
    is_final: bool,
    meaning: Settled,
}

impl DeadLetters {
    /// Over `inner`, which does not claim `dead_letters`.
    #[must_use]
    pub fn over(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let notes = Notes::over(Arc::clone(&inner), Arc::clone(&clock));
        Arc::new(Self { inner, clock, stories: Stories::default(), notes })
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
                self.bury(&token, &told, known, Reason::MaxDeliver).await?;
            }
            self.ask(&token, Verb::Ack).await?;
            self.forget(&token, Some(&told.cursor));
            return Ok(None);
        }
        let (message, cursor, attempt) = (Arc::clone(&delivery.message), delivery.cursor, delivery.attempt);
        Ok(Some(Delivery::leased(told.around(token), message, cursor, attempt, self)))
    }

    /// What the transport is asked instead.
    async fn plan(&self, settlement: Settlement) -> Result<Plan> {
        match settlement.verb {
            Verb::Reject { reason } => {
                let (told, token) = Told::read(&settlement.token)?;
                self.end(token, told, Reason::Rejected, &reason, Settled::Rejected).await
            }
            Verb::Nack(nack) => {
                let (told, token) = Told::read(&settlement.token)?;
                let error = nack.error.as_deref().unwrap_or(NO_REASON);
                if told.attempt >= told.max_deliver {
                    return self.end(token, told, Reason::MaxDeliver, error, Settled::Nacked).await;
                }
                let note = self.note(&token, &told, nack.error.as_deref());
                self.stories.fail(&token, told.attempt, error);
                let delay = Some(nack.delay.unwrap_or_else(|| told.delay()));
                let verb = Verb::Nack(Nack { delay, ..nack });
                Ok(Plan::Ask(Asked { token, place: None, verb, meaning: Settled::Acked, note }))
            }
            verb => {
                let token = Told::within(&settlement.token)?;
                Ok(Plan::Ask(Asked { token, place: None, verb, meaning: Settled::Acked, note: None }))
            }
        }
    }

    /// What is written down of a nack: nothing where nobody said why, so that plain nacks cost nothing more.
    fn note(&self, token: &LeaseToken, told: &Told, error: Option<&str>) -> Option<Box<Note>> {
        let error = error.filter(|_| self.notes.are_kept(&token.event) && !self.stories.is_stale(token))?;
        Some(Box::new(Note {
            subject: Subject::of(token, &told.cursor),
            attempt: told.attempt,
            error: error.to_owned(),
            first_delivered_at: told.first_delivered_at,
        }))
    }

    /// What `Acked` meant, and the end of a story.
    fn conclude(&self, asked: &Pending, settled: Settled) -> Settled {
        // A stale token says nothing of the delivery that came after it.
        if asked.is_final && settled != Settled::Stale {
            self.forget(&asked.token, asked.place.as_ref());
        }
        if settled == Settled::Acked { asked.meaning } else { settled }
    }

    /// The end of a story.
    fn forget(&self, token: &LeaseToken, buried: Option<&Cursor>) {
        self.stories.end(token);
        if let Some(place) = buried {
            self.notes.end(token, place);
        }
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
        self.inner.unregister(event).await?;
        self.notes.forget(event).await;
        Ok(())
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        let mut events = self.inner.events().await?;
        events.retain(|info| !info.name.is_stories());
        Ok(events)
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        self.inner.publish_in_turn(event, batch, turn).await
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
        let mut notes = Vec::new();
        for settlement in batch {
            plans.push(match self.plan(settlement).await {
                Ok(Plan::Ask(ask)) => {
                    let Asked { token, place, verb, meaning, note } = ask;
                    notes.extend(note.map(|note| (token.event.clone(), *note)));
                    let is_final = verb == Verb::Ack;
                    asked.push(Settlement { token: token.clone(), verb });
                    Ok(Ok(Pending { token, place, is_final, meaning }))
                }
                Ok(Plan::Answered(settled)) => Ok(Err(settled)),
                Err(error) => Err(error),
            });
        }
        // Before: whoever gets a message next finds what is known of it.
        self.notes.write(notes).await;
        let mut answers = self.inner.settle(asked).await.into_iter();
        let conclude = |plan: Result<Result<Pending, Settled>>| {
            let asked = match plan? {
                Ok(asked) => asked,
                Err(answered) => return Ok(answered),
            };
            let settled = answers.next().unwrap_or_else(|| Err(no_answer()))?;
            Ok(self.conclude(&asked, settled))
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
