//! Publishing: authorized, bounded, stamped, and handed to the transport in one batch.

use std::{future::poll_fn, task::Poll};

use super::{Draft, Gateway, Inner, events::refuse_own, timed_out};
use crate::{
    Caller, Effect, Error, ErrorKind, EventConfig, EventName, Message, MessageId, Operation, Receipt, Result,
    Turn,
};

/// The source of a message whose publisher is nobody in particular.
const REMOTE: &str = "remote";

impl Gateway {
    /// Publishes a batch in order. Each entry has its own answer, and a partial failure repeats no success.
    ///
    /// # Errors
    /// For the whole batch: `invalid` for the gateway's own names, `denied`, `too_large` for too many entries,
    /// `unavailable` while draining. Per entry: the limits, and what the transport answers.
    pub async fn publish(
        &self,
        caller: &Caller,
        event: &EventName,
        drafts: Vec<Draft>,
    ) -> Result<Vec<Result<Receipt>>> {
        self.publish_in_turn(caller, event, drafts, Turn::alone()).await
    }

    /// As [`Gateway::publish`], for a publisher whose next batch waits for its turn only: `turn` is let go of once these
    /// messages have their place before whatever is published from then on.
    ///
    /// # Errors
    /// As [`Gateway::publish`].
    pub async fn publish_in_turn(
        &self,
        caller: &Caller,
        event: &EventName,
        drafts: Vec<Draft>,
        turn: Turn,
    ) -> Result<Vec<Result<Receipt>>> {
        let inner = &self.inner;
        inner.admit_publish(caller, event, drafts.len()).await?;
        let mut answers = Vec::with_capacity(drafts.len());
        let mut batch = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let message = inner.stamp(caller, draft);
            match inner.config.limits.check(&message) {
                Ok(()) => {
                    answers.push(None);
                    batch.push(message);
                }
                Err(error) => answers.push(Some(Err(error))),
            }
        }
        let mut published = inner.publish(event, batch, turn).await.into_iter();
        let answers =
            answers.into_iter().map(|answer| answer.or_else(|| published.next()).unwrap_or_else(no_answer));
        let answers: Vec<_> = answers.collect();
        inner.count(&answers);
        Ok(answers)
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// As [`Gateway::publish`], for the batch and the entry alike.
    pub async fn publish_one(&self, caller: &Caller, event: &EventName, draft: Draft) -> Result<Receipt> {
        let inner = &self.inner;
        inner.admit_publish(caller, event, 1).await?;
        let message = inner.stamp(caller, draft);
        let answer = match inner.config.limits.check(&message) {
            Ok(()) => {
                inner.publish(event, vec![message], Turn::alone()).await.pop().unwrap_or_else(no_answer)
            }
            Err(error) => Err(error),
        };
        inner.count(std::slice::from_ref(&answer));
        answer
    }
}

impl Inner {
    async fn admit_publish(&self, caller: &Caller, event: &EventName, count: usize) -> Result<()> {
        self.authorize_event(caller, Operation::Publish, event).await?;
        refuse_own(event)?;
        self.refuse_if_draining()?;
        let most = self.config.limits.max_batch;
        if count > most {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("batch: {count} messages is over the limit of {most}"),
            ));
        }
        Ok(())
    }

    fn stamp(&self, caller: &Caller, draft: Draft) -> Message {
        let source = draft.source.unwrap_or_else(|| {
            if caller.is_anonymous() { REMOTE.to_owned() } else { caller.name().to_owned() }
        });
        Message {
            id: draft.id.unwrap_or_else(MessageId::generate),
            source,
            payload: draft.payload,
            metadata: draft.metadata,
            timestamp: self.clock.now(),
            key: draft.key,
            content_type: draft.content_type,
        }
    }

    async fn publish(&self, event: &EventName, batch: Vec<Message>, turn: Turn) -> Vec<Result<Receipt>> {
        if batch.is_empty() {
            return Vec::new();
        }
        if !self.config.auto_register {
            return self.publish_in_time(event, batch, turn).await;
        }
        let answers = self.publish_in_time(event, batch.clone(), turn).await;
        let missing =
            |answer: &Result<Receipt>| matches!(answer, Err(error) if error.kind() == ErrorKind::NotFound);
        if !answers.iter().all(missing) {
            return answers;
        }
        if let Err(error) = self.register(event, &EventConfig::default()).await {
            return vec![Err(error); batch.len()];
        }
        self.publish_in_time(event, batch, Turn::alone()).await
    }

    async fn publish_in_time(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let count = batch.len();
        let mut call = self.transport.publish_in_turn(event, batch, turn);
        // What is there at once takes no timer.
        if let Poll::Ready(answers) = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
            return answers;
        }
        match tokio::time::timeout(self.config.publish_timeout, call).await {
            Ok(answers) => answers,
            Err(_) => vec![Err(timed_out(Effect::Unknown)); count],
        }
    }

    fn count(&self, answers: &[Result<Receipt>]) {
        let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
        let duplicates = answers.iter().flatten().filter(|receipt| receipt.duplicate).count();
        self.counters.published.add(accepted);
        self.counters.duplicates.add(duplicates);
        self.counters.publish_failed.add(answers.len() - accepted);
    }
}

fn no_answer() -> Result<Receipt> {
    Err(Error::internal("the transport gave fewer answers than it got messages").with_effect(Effect::Unknown))
}
