//! The transport itself.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Effect, Error, ErrorKind, EventConfig, EventInfo, EventName, Health,
    Message, Page, Passed, Position, ReadRequest, Receipt, Result, Settled, Settlement, SubscribeOptions,
    Subscription, Transport,
};
use futures_util::{future::join_all, stream};
use tokio::sync::oneshot;

use crate::{
    catalog::Event,
    codec,
    config::NatsConfig,
    error,
    member::Member,
    node::Node,
    reader::{self, Reader},
};

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

    async fn publish_to(&self, event: &Event, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        let (context, clock) = (&self.node.link.context, &*self.node.config.clock);
        let mut sent = Vec::with_capacity(batch.len());
        for message in batch {
            let outbound = codec::outbound(&message, event.is_deduplicated, clock);
            let answer = match self.node.link.check() {
                Ok(()) => {
                    let sending = context.send_publish(event.subject.clone(), outbound).await;
                    sending.map_err(|cause| error::publish(cause).with_effect(Effect::None))
                }
                Err(away) => Err(away),
            };
            sent.push((message.id, answer));
        }
        let mut receipts = Vec::with_capacity(sent.len());
        for (id, answer) in sent {
            let answer = match answer {
                Ok(answer) => answer.await.map_err(error::publish),
                Err(refused) => Err(refused),
            };
            receipts.push(answer.and_then(|ack| {
                let cursor = Some(event.before(ack.sequence.saturating_add(1)).to_cursor()?);
                Ok(Receipt { id, cursor, duplicate: ack.duplicate })
            }));
        }
        receipts
    }

    /// Publishes again what nobody took: the event may be another by now, or none.
    async fn publish_anew(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        match self.node.catalog.look_up(event).await {
            Ok(found) => self.publish_to(&found, batch).await,
            Err(refused) => batch.iter().map(|_| Err(refused.clone())).collect(),
        }
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

    async fn publish(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        let found = match self.node.catalog.find(event).await {
            Ok(found) => found,
            Err(refused) => {
                let refused = refused.with_effect(Effect::None);
                return batch.iter().map(|_| Err(refused.clone())).collect();
            }
        };
        let kept = batch.clone();
        let mut receipts = self.publish_to(&found, batch).await;
        // Where nobody listens to the subject, the event is gone, or has gone to another stream.
        let nobody = |receipt: &Result<Receipt>| matches!(receipt, Err(refused) if is_nobody(refused));
        if receipts.iter().any(nobody) && self.node.link.check().is_ok() {
            let (places, again): (Vec<_>, Vec<_>) = receipts
                .iter()
                .zip(kept)
                .enumerate()
                .filter(|(_, (receipt, _))| nobody(receipt))
                .map(|(place, (_, message))| (place, message))
                .unzip();
            for (place, receipt) in places.into_iter().zip(self.publish_anew(event, again).await) {
                if let Some(slot) = receipts.get_mut(place) {
                    *slot = receipt;
                }
            }
        }
        receipts
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
        reader::page(&self.node.link, &found, &request).await
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

fn is_nobody(refused: &Error) -> bool {
    refused.kind() == ErrorKind::Unavailable && refused.effect() == Effect::None
}
