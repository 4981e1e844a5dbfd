//! A transport that does not claim to be durable: the dead letters that are added over one keep their stories in memory.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, EventConfig, EventInfo, EventName, Health, Message, Page, Passed,
    ReadRequest, Receipt, Result, Settled, Settlement, SubscribeOptions, Subscription, Transport,
};

#[derive(Debug)]
pub(crate) struct Brief(pub(crate) Arc<dyn Transport>);

#[async_trait]
impl Transport for Brief {
    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: false, ..self.0.capabilities() }
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        self.0.register(event, config).await
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        self.0.unregister(event).await
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.0.events().await
    }

    async fn publish(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        self.0.publish(event, batch).await
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        Arc::clone(&self.0).subscribe(event, options).await
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        self.0.read(event, request).await
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        self.0.passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        self.0.settle(batch).await
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        self.0.lag(event).await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
