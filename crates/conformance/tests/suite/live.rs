//! Live broadcast in memory, and nothing else: the least a transport can be.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Delivery, Error, ErrorKind, EventConfig, EventInfo, EventName, Health,
    Item, Message, Mode, Page, Passed, ReadRequest, Receipt, Result, Settled, Settlement, Start,
    SubscribeOptions, Subscription, Transport, Turn,
};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;

type Subscribers = Vec<UnboundedSender<Result<Item>>>;

#[derive(Debug)]
pub(crate) struct Live {
    /// Whether it ignores what it can't do, instead of refusing it.
    careless: bool,
    /// `None` once it is closed.
    events: Mutex<Option<BTreeMap<EventName, (EventConfig, Subscribers)>>>,
}

impl Live {
    pub(crate) fn new(careless: bool) -> Arc<Self> {
        Arc::new(Self { careless, events: Mutex::new(Some(BTreeMap::new())) })
    }

    fn refuse(&self, asked: bool) -> Result<()> {
        if asked && !self.careless { Err(Error::unsupported("only live broadcast")) } else { Ok(()) }
    }

    fn with<T>(
        &self,
        event: &EventName,
        work: impl FnOnce(&mut (EventConfig, Subscribers)) -> Result<T>,
    ) -> Result<T> {
        let mut events = self.events.lock();
        let events = events.as_mut().ok_or_else(closed)?;
        work(events.get_mut(event).ok_or_else(|| Error::not_found("no such event"))?)
    }
}

fn closed() -> Error {
    Error::unavailable("closed")
}

#[allow(clippy::unwrap_used, reason = "a cursor by its own rules")]
fn place() -> Cursor {
    Cursor::new("here").unwrap()
}

#[async_trait]
impl Transport for Live {
    fn capabilities(&self) -> Capabilities {
        Capabilities { ordered: true, ..Capabilities::default() }
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        config.validate()?;
        let plain = EventConfig {
            dedup_window: config.dedup_window.filter(|window| !window.is_zero()),
            ..config.clone()
        };
        self.refuse(!plain.is_default())?;
        let mut events = self.events.lock();
        let known = events.as_mut().ok_or_else(closed)?.entry(event.clone());
        let (known, _) = known.or_insert_with(|| (config.clone(), Vec::new()));
        if config.is_default() || known == config {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Exists, "registered with another configuration"))
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        let removed = self.events.lock().as_mut().ok_or_else(closed)?.remove(event);
        removed.map(drop).ok_or_else(|| Error::not_found("no such event"))
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        let events = self.events.lock();
        let info = |(name, (config, _)): (&EventName, &(EventConfig, Subscribers))| EventInfo {
            name: name.clone(),
            config: config.clone(),
            messages: None,
            bytes: None,
            oldest: None,
            newest: None,
        };
        Ok(events.as_ref().ok_or_else(closed)?.iter().map(info).collect())
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        _turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let publish = |message: Message| {
            let message = Arc::new(message);
            self.with(event, |(_, subscribers)| {
                subscribers.retain(|subscriber| {
                    let delivery = Delivery::unleased(event.clone(), Arc::clone(&message), place());
                    subscriber.send(Ok(Item::Delivery(delivery))).is_ok()
                });
                Ok(Receipt { id: message.id.clone(), cursor: None, duplicate: false })
            })
        };
        batch.into_iter().map(publish).collect()
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        let plain = options.mode == Mode::Broadcast { consumer: None } && options.start == Start::Latest;
        self.with(event, |_| Ok(()))?;
        options.validate()?;
        self.refuse(!plain)?;
        let (sender, receiver) = unbounded_channel();
        self.with(event, |(_, subscribers)| {
            subscribers.push(sender);
            Ok(())
        })?;
        Ok(Subscription::new(UnboundedReceiverStream::new(receiver)))
    }

    async fn read(&self, event: &EventName, _: ReadRequest) -> Result<Page> {
        self.with(event, |_| Ok(()))?;
        self.refuse(true)?;
        Ok(Page { gap: None, messages: Vec::new(), next: place(), end: true })
    }

    fn passed(&self, _: &Cursor, _: &Cursor) -> Result<Passed> {
        Ok(Passed::NewFromHere)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        batch.into_iter().map(|_| self.refuse(true).map(|()| Settled::Acked)).collect()
    }

    async fn health(&self) -> Health {
        if self.events.lock().is_some() { Health::healthy() } else { Health::unhealthy("closed") }
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        self.with(event, |_| Ok(Vec::new()))
    }

    async fn close(&self) -> Result<()> {
        for (_, (_, subscribers)) in self.events.lock().take().into_iter().flatten() {
            for subscriber in subscribers {
                // A subscription that is gone needs no news.
                let _ = subscriber.send(Err(closed()));
            }
        }
        Ok(())
    }
}
