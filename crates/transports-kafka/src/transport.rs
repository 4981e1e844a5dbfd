//! The port, implemented.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Error, EventConfig, EventInfo, EventName, Health, Message, Page,
    Passed, Places, ReadRequest, Receipt, Result, Settled, Settlement, SubscribeOptions, Subscription,
    Transport,
};

use crate::{config::KafkaConfig, group::Groups, shared::Shared};

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
        let event = self.shared.registry.unregister(&self.shared, event).await?;
        self.groups.forget(&event).await?;
        if event.is_ours {
            self.shared.admin.delete(&[&event.topic]).await?;
        }
        Ok(())
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        Err(Error::internal("not yet"))
    }

    async fn publish(&self, _event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        vec![Err(Error::internal("not yet")); batch.len()]
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.validate()?;
        self.shared.check_open()?;
        let event = self.shared.registry.find(&self.shared, event).await?;
        let Some(holder) = options.mode.holder() else { return Err(Error::internal("not yet")) };
        let groups = Arc::clone(&self.groups);
        groups.subscribe(self, event, holder, options).await
    }

    async fn read(&self, _event: &EventName, _request: ReadRequest) -> Result<Page> {
        Err(Error::internal("not yet"))
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
        Health::unhealthy("not yet")
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        self.shared.check_open()?;
        let event = self.shared.registry.find(&self.shared, event).await?;
        self.groups.lag(&event).await
    }

    async fn close(&self) -> Result<()> {
        self.groups.close().await;
        self.shared.close().await;
        Ok(())
    }
}

impl fmt::Debug for KafkaTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTransport").field("shared", &self.shared).finish_non_exhaustive()
    }
}
