//! The transport itself.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Error, EventConfig, EventInfo, EventName, Health, Message, Page,
    Passed, Position, ReadRequest, Receipt, Result, Settled, Settlement, SubscribeOptions, Subscription,
    Transport, Turn,
};
use futures_util::{future::join_all, stream};
use tokio::sync::oneshot;

use crate::{config::NatsConfig, error, member::Member, node::Node, page, reader::Reader};

/// NATS JetStream as a transport.
#[derive(Debug)]
pub struct NatsTransport {
    node: Arc<Node>,
}

impl NatsTransport {
    /// Connects.
    ///
    /// # Errors
    /// `unavailable` when no server answers in time, `unauthenticated` when it does not know us, `invalid` for settings
    /// that can't be.
    pub async fn connect(config: NatsConfig) -> Result<Arc<Self>> {
        config.validate()?;
        if config.core {
            return Err(Error::invalid("core subjects are another transport: CoreTransport"));
        }
        Ok(Arc::new(Self { node: Node::start(config).await? }))
    }
}

#[async_trait]
impl Transport for NatsTransport {
    fn capabilities(&self) -> Capabilities {
        self.node.config.capabilities()
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        config.validate()?;
        self.node.catalog.register(event, config).await
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        let gone = self.node.catalog.unregister(event).await?;
        self.node.bury(&gone).await;
        Ok(())
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.node.catalog.list().await
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        self.node.publish(event, &batch, turn).await
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.validate()?;
        let found = self.node.catalog.find(event).await?;
        let Some(holder) = options.mode.holder() else {
            let window = options.max_in_flight;
            let reader = Reader::open(&self.node.link, found, &options.start, window).await?;
            let items = stream::unfold(reader, |mut reader| async move {
                let item = reader.next().await?;
                Some((item, reader))
            });
            return Ok(Subscription::new(items));
        };
        let (crew, serial) = self.node.join(&found, &holder, &options).await?;
        let owner = self.node.owner;
        Ok(Subscription::new(Member { transport: self, crew, serial, owner, ended: false }))
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        if request.limit == 0 {
            return Err(Error::invalid("limit must be 1 or more"));
        }
        let found = self.node.catalog.find(event).await?;
        page::read(&self.node.link, &found, &request).await
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        Position::passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let count = batch.len();
        if let Err(away) = self.node.link.check() {
            return (0..count).map(|_| Err(away.clone())).collect();
        }
        // What has begun comes to its end, whoever waits for it.
        let (done, answers) = oneshot::channel();
        let node = Arc::clone(&self.node);
        self.node.spawn(async move {
            let settling = batch.iter().map(|one| node.settle(&one.token, &one.verb));
            // Whoever no longer waits does not need the answers.
            let _ = done.send(join_all(settling).await);
        });
        answers.await.unwrap_or_else(|_| (0..count).map(|_| Err(error::closed())).collect())
    }

    async fn health(&self) -> Health {
        self.node.health().await
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        let found = self.node.catalog.find(event).await?;
        self.node.lag(&found).await
    }

    async fn close(&self) -> Result<()> {
        self.node.close().await;
        Ok(())
    }
}
