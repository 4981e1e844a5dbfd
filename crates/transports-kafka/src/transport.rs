//! The port, implemented.

mod info;
mod probe;
mod publish;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Error, EventConfig, EventInfo, EventName, Health, Message, Page,
    Passed, Places, ReadRequest, Receipt, Result, Settled, Settlement, Start, SubscribeOptions, Subscription,
    Transport, Turn,
};
use tokio::sync::oneshot;

use crate::{
    config::KafkaConfig, error, event::Event, follower::Follower, group::Groups, reader::Limit,
    registry::topic, shared::Shared, start::Begun,
};

/// Kafka.
pub struct KafkaTransport {
    shared: Arc<Shared>,
    groups: Arc<Groups>,
}

impl KafkaTransport {
    /// Connects.
    ///
    /// # Errors
    /// `invalid` for a setting that librdkafka does not take, `unauthenticated` or `denied` when the broker refuses who
    /// the gateway is, `unavailable` when it does not answer in time.
    pub async fn connect(config: KafkaConfig) -> Result<Arc<Self>> {
        let shared = Shared::connect(config).await?;
        let groups = Groups::new(Arc::clone(&shared));
        Ok(Arc::new(Self { shared, groups }))
    }

    async fn event(&self, event: &EventName) -> Result<Arc<Event>> {
        self.shared.check_open()?;
        self.shared.registry.find(&self.shared, event).await
    }
}

#[async_trait]
impl Transport for KafkaTransport {
    fn capabilities(&self) -> Capabilities {
        self.shared.config.capabilities()
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        config.validate()?;
        self.shared.check_open()?;
        self.shared.registry.register(&self.shared, event, config).await
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        self.shared.check_open()?;
        // It goes on when nobody waits for it any more: half of it would leave a topic that is nobody's.
        let (shared, groups, event) = (Arc::clone(&self.shared), Arc::clone(&self.groups), event.clone());
        let (done, outcome) = oneshot::channel();
        self.shared.tasks.spawn(async move {
            // Whoever no longer waits does not need it.
            let _ = done.send(unregister(&shared, &groups, &event).await);
        });
        outcome.await.unwrap_or_else(|_| Err(error::closed()))
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.infos().await
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        self.publish_all(event, batch, turn).await
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.validate()?;
        let event = self.event(event).await?;
        let Some(holder) = options.mode.holder() else {
            let begun = self.shared.resolve(&event, &options.start).await?;
            let follower = Follower::new(Arc::clone(&self.shared), event, begun, options.max_in_flight)?;
            return Ok(follower.into_subscription());
        };
        let groups = Arc::clone(&self.groups);
        groups.subscribe(self, event, holder, options).await
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        if request.limit == 0 {
            return Err(Error::invalid("limit must be 1 or more"));
        }
        let event = self.event(event).await?;
        let Begun { next, gap } = self.shared.resolve(&event, &request.start).await?;
        if request.start == Start::Latest {
            return Ok(Page { gap, messages: Vec::new(), next: event.places(&next).to_cursor()?, end: true });
        }
        let limit = Limit { messages: request.limit, bytes: request.max_bytes };
        let chunk = self.shared.reader.page(&self.shared, &event, next, limit).await?;
        let gap = match chunk.missed {
            Some(_) => Some(event.gap(chunk.missed, &chunk.from)?),
            None => gap,
        };
        let mut next = chunk.from;
        let mut messages = Vec::with_capacity(chunk.messages.len());
        for (place, message) in chunk.messages {
            let own = u16::try_from(place.partition).unwrap_or(0);
            if let Some(slot) = next.get_mut(usize::from(own)) {
                *slot = place.offset + 1;
            }
            messages.push((event.places(&next).of_message_in(own).to_cursor()?, message));
        }
        Ok(Page { gap, messages, next: event.places(&chunk.next).to_cursor()?, end: chunk.end })
    }

    async fn find(&self, event: &EventName, place: &Cursor) -> Result<Option<Arc<Message>>> {
        let event = self.event(event).await?;
        self.shared.find(&event, place).await
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        Places::passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        if let Err(error) = self.shared.check_open() {
            return vec![Err(error); batch.len()];
        }
        self.groups.settle(batch).await
    }

    async fn health(&self) -> Health {
        match self.probe().await {
            Ok(()) => Health::healthy()
                .with("events", &self.shared.registry.known().len())
                .with("laden_partitions", &self.groups.laden()),
            Err(error) => Health::unhealthy(error.to_string()),
        }
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        let event = self.event(event).await?;
        self.groups.lag(&event).await
    }

    async fn close(&self) -> Result<()> {
        self.groups.close().await;
        self.shared.close().await;
        Ok(())
    }
}

async fn unregister(shared: &Shared, groups: &Groups, event: &EventName) -> Result<()> {
    let _changing = shared.registry.change().await;
    let event = shared.registry.unregister(shared, event).await?;
    groups.forget(&event).await?;
    if event.is_ours { topic::delete(shared, &event).await } else { Ok(()) }
}

impl fmt::Debug for KafkaTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTransport").field("shared", &self.shared).finish_non_exhaustive()
    }
}
