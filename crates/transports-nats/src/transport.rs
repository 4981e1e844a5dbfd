//! The transport itself.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Effect, Error, EventConfig, EventInfo, EventName, Health, Message,
    Page, Passed, Position, ReadRequest, Receipt, Result, Settled, Settlement, SubscribeOptions,
    Subscription, Transport, Turn,
};
use futures_util::{future::join_all, stream};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{
    codec, config::NatsConfig, error, event::Event, member::Member, node::Node, page, reader::Reader,
};

/// How long to wait before what nobody took is sent again.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(50)];

/// And from there on.
const LAST_PAUSE: Duration = Duration::from_millis(100);

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

    /// Sends all of them, and then waits for the answers.
    async fn send(&self, event: &Event, batch: &[&Message], turn: Turn) -> Vec<Result<Receipt>> {
        let (link, clock) = (&self.node.link, &*self.node.config.clock);
        let mut sent = Vec::with_capacity(batch.len());
        for message in batch {
            let outbound = codec::outbound(message, event.is_deduplicated, clock);
            sent.push(match link.check() {
                Ok(()) => {
                    let sending = link.context.send_publish(event.subject.clone(), outbound).await;
                    sending.map_err(|cause| error::publish(cause).with_effect(Effect::None))
                }
                Err(away) => Err(away),
            });
        }
        drop(turn);
        let mut receipts = Vec::with_capacity(sent.len());
        for (message, answer) in batch.iter().zip(sent) {
            let answer = match answer {
                Ok(answer) => answer.await.map_err(error::publish),
                Err(refused) => Err(refused),
            };
            receipts.push(answer.and_then(|ack| {
                let cursor = Some(event.before(ack.sequence.saturating_add(1)).to_cursor()?);
                Ok(Receipt { id: message.id.clone(), cursor, duplicate: ack.duplicate })
            }));
        }
        receipts
    }

    /// Sends again what nobody took: the event may be another by now, or its stream is about to listen, or the server is
    /// at work on the same id and can't tell yet.
    async fn send_again(&self, name: &EventName, batch: &[Message], receipts: &mut [Result<Receipt>]) {
        let deadline = Instant::now() + self.node.config.request_timeout;
        for pause in PAUSES.into_iter().chain(std::iter::repeat(LAST_PAUSE)) {
            let (mut again, mut slots) = (Vec::new(), Vec::new());
            for (message, receipt) in batch.iter().zip(receipts.iter_mut()) {
                if matches!(receipt, Err(refused) if error::is_not_taken(refused)) {
                    again.push(message);
                    slots.push(receipt);
                }
            }
            if again.is_empty() || self.node.link.check().is_err() || Instant::now() > deadline {
                return;
            }
            sleep(pause).await;
            let found = self.node.catalog.look_up(name).await;
            let answers = match found {
                Ok(event) => self.send(&event, &again, Turn::alone()).await,
                Err(refused) => again.iter().map(|_| Err(refused.clone())).collect(),
            };
            for (slot, answer) in slots.into_iter().zip(answers) {
                *slot = answer;
            }
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

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let found = match self.node.catalog.find(event).await {
            Ok(found) => found,
            Err(refused) => {
                let refused = refused.with_effect(Effect::None);
                return batch.iter().map(|_| Err(refused.clone())).collect();
            }
        };
        let all: Vec<&Message> = batch.iter().collect();
        let mut receipts = self.send(&found, &all, turn).await;
        if receipts.iter().any(Result::is_err) {
            self.send_again(event, &batch, &mut receipts).await;
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
