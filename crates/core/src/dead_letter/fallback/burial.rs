//! The end of a message: its dead letter is written, then it is acked.

use std::time::Duration;

use super::{
    super::{Origin, dead_letter},
    Asked, DeadLetters, Plan,
    entry::Told,
    no_answer,
    note::Subject,
    past::Past,
    stories::Known,
};
use crate::{EventConfig, LeaseToken, Reason, Result, Settled, Settlement, Story, Verb};

/// How long a message stays leased while its dead letter is written.
const BURIAL: Duration = Duration::from_secs(30);

impl DeadLetters {
    /// Writes the dead letter; a message that is one already breeds no other.
    pub(super) async fn bury(
        &self,
        token: &LeaseToken,
        told: &Told,
        known: Known,
        reason: Reason,
    ) -> Result<()> {
        let Known { message, mut past } = known;
        if token.event.is_dead_letter() {
            tracing::warn!(event = %token.event, id = %message.id, "a dead letter died again");
            return Ok(());
        }
        if !past.has_its_beginning()
            && let Some(noted) =
                self.notes.of(&token.event, &Subject::of(token, &told.cursor), message.timestamp).await
        {
            past.join(&noted);
        }
        let origin = Origin { event: &token.event, holder: &token.holder, cursor: &told.cursor };
        let story = Story {
            offset: 0,
            reason,
            attempts: told.attempt,
            first_error: past.first_error().map(Into::into),
            last_error: past.last_error().map(Into::into),
            first_delivered_at: past.first_delivered_at,
        };
        let letter = dead_letter(&message, origin, &story, self.clock.now());
        let event = token.event.dead_letter()?;
        self.inner.register(&event, &EventConfig::default()).await?;
        self.inner.publish(&event, vec![letter]).await.into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// The end of a message: its dead letter, if the token is still good.
    pub(super) async fn end(
        &self,
        token: LeaseToken,
        told: Told,
        reason: Reason,
        error: &str,
        meaning: Settled,
    ) -> Result<Plan> {
        let here = self.stories.fail(&token, told.attempt, error);
        // Nobody else may take it while its letter is written, and a stale token writes none.
        if self.inner.capabilities().extend {
            let held = self.ask(&token, Verb::Extend(BURIAL)).await?;
            if held != Settled::Extended {
                return Ok(Plan::Answered(held));
            }
        }
        let known = match here {
            Some(known) => Some(known),
            None => self.found(&token, &told, error).await?,
        };
        if let Some(known) = known {
            self.bury(&token, &told, known, reason).await?;
        } else {
            tracing::warn!(event = %token.event, cursor = %told.cursor, "a message is gone before it died");
        }
        Ok(Plan::Ask(Asked { token, place: Some(told.cursor), verb: Verb::Ack, meaning, note: None }))
    }

    /// What another node delivered, read again.
    async fn found(&self, token: &LeaseToken, told: &Told, error: &str) -> Result<Option<Known>> {
        let message = self.inner.find(&token.event, &told.cursor).await?;
        let mut past = Past::since(told.first_delivered_at);
        past.fail(told.attempt, error);
        Ok(message.map(|message| Known { message, past }))
    }

    pub(super) async fn ask(&self, token: &LeaseToken, verb: Verb) -> Result<Settled> {
        let asked = vec![Settlement { token: token.clone(), verb }];
        self.inner.settle(asked).await.pop().unwrap_or_else(|| Err(no_answer()))
    }
}
