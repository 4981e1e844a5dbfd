//! A transport that is another one but for some calls, written as no more than these.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Delivery, EventConfig, EventInfo, EventName, Health, Item, Message,
    Page, Passed, ReadRequest, Receipt, Result, Settled, Settlement, SubscribeOptions, Subscription,
    Transport, Turn,
};
use futures_util::StreamExt;

/// What is otherwise than in the transport beneath: a test writes the calls it changes, and all others are passed on.
/// [`overlaid`] makes a transport of it.
#[async_trait]
pub trait Overlay: fmt::Debug + Send + Sync + 'static {
    /// The transport beneath.
    fn beneath(&self) -> &Arc<dyn Transport>;

    /// As [`Transport::capabilities`].
    fn capabilities(&self) -> Capabilities {
        self.beneath().capabilities()
    }

    /// As [`Transport::register`].
    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        self.beneath().register(event, config).await
    }

    /// As [`Transport::unregister`].
    async fn unregister(&self, event: &EventName) -> Result<()> {
        self.beneath().unregister(event).await
    }

    /// As [`Transport::events`].
    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.beneath().events().await
    }

    /// As [`Transport::publish`].
    async fn publish(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        self.beneath().publish(event, batch).await
    }

    /// As [`Transport::publish_in_turn`]: by [`Self::publish`], unless a test is about turns.
    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let answers = self.publish(event, batch).await;
        drop(turn);
        answers
    }

    /// As [`Transport::subscribe`].
    async fn subscribe(&self, event: &EventName, options: SubscribeOptions) -> Result<Subscription> {
        Arc::clone(self.beneath()).subscribe(event, options).await
    }

    /// As [`Transport::read`].
    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        self.beneath().read(event, request).await
    }

    /// As [`Transport::find`].
    async fn find(&self, event: &EventName, place: &Cursor) -> Result<Option<Arc<Message>>> {
        self.beneath().find(event, place).await
    }

    /// As [`Transport::passed`].
    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        self.beneath().passed(reader, message)
    }

    /// As [`Transport::settle`].
    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        self.beneath().settle(batch).await
    }

    /// As [`Transport::health`].
    async fn health(&self) -> Health {
        self.beneath().health().await
    }

    /// As [`Transport::lag`].
    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        self.beneath().lag(event).await
    }

    /// As [`Transport::close`].
    async fn close(&self) -> Result<()> {
        self.beneath().close().await
    }
}

/// The transport that `overlay` makes of the one beneath. What it delivers is settled through it.
#[must_use]
pub fn overlaid<T: Overlay>(overlay: Arc<T>) -> Arc<dyn Transport> {
    Arc::new(Overlaid(overlay))
}

#[derive(Debug)]
struct Overlaid<T>(Arc<T>);

#[async_trait]
impl<T: Overlay> Transport for Overlaid<T> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
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

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        self.0.publish_in_turn(event, batch, turn).await
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        let items = self.0.subscribe(event, options).await?;
        let this: Arc<dyn Transport> = self;
        Ok(Subscription::new(items.map(move |item| item.map(|item| settled_by(&this, item)))))
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        self.0.read(event, request).await
    }

    async fn find(&self, event: &EventName, place: &Cursor) -> Result<Option<Arc<Message>>> {
        self.0.find(event, place).await
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

/// The same item, but a lease in it is settled by `transport`.
fn settled_by(transport: &Arc<dyn Transport>, item: Item) -> Item {
    let Item::Delivery(delivery) = item else { return item };
    let Some(token) = delivery.token().cloned() else { return Item::Delivery(delivery) };
    let transport = Arc::clone(transport);
    Item::Delivery(Delivery::leased(token, delivery.message, delivery.cursor, delivery.attempt, transport))
}
