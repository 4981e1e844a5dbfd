//! Beginning again on another connection, if what the group stands on is still there.

use busgate_core::Result;
use tokio::time::Instant;

use super::{MOMENT, Run};
use crate::{crew::Crew, event::End, name};

/// What is left of a group at the server.
enum Presence {
    There,
    NoEvent,
    NoConsumer,
}

impl Run {
    /// The connection or the consumer is another one: asks again, if it is there.
    pub(super) async fn start_over(&mut self) {
        if let Some(puller) = &mut self.puller {
            puller.reset();
        }
        self.retry_at = Some(Instant::now() + MOMENT);
        match self.crew.presence().await {
            Ok(Presence::There) => self.retry_at = None,
            Ok(Presence::NoEvent) => self.crew.event.finish(End::Unregistered),
            Ok(Presence::NoConsumer) => {
                tracing::warn!(event = %self.crew.event.name, consumer = %self.crew.consumer, "the consumer was deleted");
                self.crew.give_up();
            }
            Err(refused) => {
                tracing::debug!(event = %self.crew.event.name, error = %refused, "a group waits for the server");
            }
        }
    }
}

impl Crew {
    /// Whether the event's stream and the consumer are still the same.
    async fn presence(&self) -> Result<Presence> {
        let stream = self.link.stream(&self.event.stream).await?;
        if stream.is_none_or(|info| name::number(&info.created) != self.event.life) {
            return Ok(Presence::NoEvent);
        }
        let consumer = self.link.consumer(&self.event.stream, &self.consumer).await?;
        let is_there = consumer.is_some_and(|info| self.is_of(&self.event, &info));
        Ok(if is_there { Presence::There } else { Presence::NoConsumer })
    }
}
