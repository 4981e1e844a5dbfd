//! Core subjects, without JetStream: at most once, for who listens, and nothing is kept.
//!
//! Nobody tells which subjects there are: an event is registered on the nodes that were told, which tell each other.

use std::{collections::BTreeMap, sync::Arc};

use async_nats::Subscriber;
use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Effect, Error, EventConfig, EventInfo, EventName, Health, Message,
    Page, Passed, ReadRequest, Receipt, Result, Settled, Settlement, Start, SubscribeOptions, Subscription,
    Tasks, Transport, Turn,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::tail::Tail;
use crate::{codec, config::NatsConfig, error, event::End, link::Link, name};

mod tail;

/// What nodes tell each other.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum News {
    /// These events are registered.
    Known { from: u64, events: Vec<String> },
    /// This one is not any more.
    Gone { from: u64, event: String },
    /// A node has begun, and knows none yet.
    Asked { from: u64 },
}

/// One registered event.
#[derive(Debug)]
struct Event {
    subject: String,
    life: u64,
    end: watch::Sender<Option<End>>,
}

/// Core NATS as a transport: live broadcast alone.
#[derive(Debug)]
pub struct CoreTransport {
    shared: Arc<Shared>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Shared {
    link: Arc<Link>,
    config: NatsConfig,
    owner: u64,
    events: RwLock<BTreeMap<EventName, Event>>,
}

impl CoreTransport {
    /// Connects.
    ///
    /// # Errors
    /// As [`NatsTransport::connect`](crate::NatsTransport::connect).
    pub async fn connect(config: NatsConfig) -> Result<Arc<Self>> {
        config.validate()?;
        if !config.core {
            return Err(Error::invalid("core subjects need a url that begins with nats+core://"));
        }
        let link = Link::connect(&config).await?;
        let shared = Shared { link, owner: name::fresh(), config, events: RwLock::default() };
        let (shared, tasks) = (Arc::new(shared), Tasks::new());
        for event in shared.config.maps.keys() {
            shared.add(event)?;
        }
        let refused = |cause| error::away().with_source(cause);
        let news = shared.link.client.subscribe(shared.news()).await.map_err(refused)?;
        tasks.spawn(follow(Arc::downgrade(&shared), news));
        shared.announce(&News::Asked { from: shared.owner });
        Ok(Arc::new(Self { shared, tasks }))
    }
}

impl Shared {
    fn news(&self) -> String {
        format!("{}_busgate.core", self.config.prefix)
    }

    fn announce(&self, news: &News) {
        if let Ok(text) = serde_json::to_vec(news) {
            // At most once, as all else here.
            let _ = self.link.post(self.news().into(), text.into());
        }
    }

    /// Whether it is new.
    fn add(&self, name: &EventName) -> Result<bool> {
        let map = self.config.maps.get(name).and_then(|map| map.subject.clone());
        let subject = match map {
            Some(subject) => subject,
            None => name::subject(&self.config.prefix, name)?,
        };
        let mut events = self.events.write();
        let is_new = !events.contains_key(name);
        if is_new {
            let event = Event { subject, life: name::fresh(), end: watch::Sender::new(None) };
            events.insert(name.clone(), event);
        }
        Ok(is_new)
    }

    fn remove(&self, name: &EventName) -> bool {
        let removed = self.events.write().remove(name);
        removed.is_some_and(|event| {
            event.end.send_replace(Some(End::Unregistered));
            true
        })
    }

    fn find<T>(&self, name: &EventName, look: impl FnOnce(&Event) -> T) -> Result<T> {
        if self.link.is_closed() {
            return Err(error::closed());
        }
        self.events.read().get(name).map(look).ok_or_else(|| error::not_registered(name))
    }

    fn hear(&self, news: News) {
        match news {
            News::Known { from, events } if from != self.owner => {
                for event in events.iter().filter_map(|name| EventName::new(name).ok()) {
                    // One that can't be a subject here can't be used here either.
                    let _ = self.add(&event);
                }
            }
            News::Gone { from, event } if from != self.owner => {
                if let Ok(event) = EventName::new(event) {
                    self.remove(&event);
                }
            }
            News::Asked { from } if from != self.owner => {
                let events: Vec<_> = self.events.read().keys().map(ToString::to_string).collect();
                if !events.is_empty() {
                    self.announce(&News::Known { from: self.owner, events });
                }
            }
            News::Known { .. } | News::Gone { .. } | News::Asked { .. } => {}
        }
    }

    /// Resolves when the server has taken what was sent before.
    async fn reach(&self) -> Result<()> {
        let nobody = format!("{}_busgate.nobody.{:x}", self.config.prefix, self.owner);
        match self.link.ask(nobody.into(), Bytes::new()).await {
            Ok(_) => Ok(()),
            // That nobody listens there is an answer.
            Err(refused) if refused.message() == error::no_jetstream().message() => Ok(()),
            Err(refused) => Err(refused),
        }
    }
}

async fn follow(shared: std::sync::Weak<Shared>, mut news: Subscriber) {
    while let Some(message) = news.next().await {
        let Some(shared) = shared.upgrade() else { return };
        if let Ok(news) = serde_json::from_slice(&message.payload) {
            shared.hear(news);
        }
    }
}

#[async_trait]
impl Transport for CoreTransport {
    fn capabilities(&self) -> Capabilities {
        self.shared.config.capabilities()
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        config.validate()?;
        self.shared.link.check()?;
        let asks =
            EventConfig { dedup_window: config.dedup_window.filter(|it| !it.is_zero()), ..config.clone() };
        if !asks.is_default() {
            return Err(Error::unsupported("core subjects keep no messages and no ids"));
        }
        if self.shared.add(event)? {
            let events = vec![event.to_string()];
            self.shared.announce(&News::Known { from: self.shared.owner, events });
        }
        Ok(())
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        self.shared.link.check()?;
        if !self.shared.remove(event) {
            return Err(error::not_registered(event));
        }
        self.shared.announce(&News::Gone { from: self.shared.owner, event: event.to_string() });
        Ok(())
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.shared.link.check()?;
        let info = |name: &EventName| EventInfo {
            name: name.clone(),
            config: EventConfig::default(),
            messages: None,
            bytes: None,
            oldest: None,
            newest: None,
        };
        Ok(self.shared.events.read().keys().map(info).collect())
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let shared = &self.shared;
        let subject = match shared.find(event, |event| event.subject.clone()) {
            Ok(subject) => subject,
            Err(refused) => return batch.iter().map(|_| Err(refused.clone())).collect(),
        };
        let mut sent = Vec::with_capacity(batch.len());
        for message in &batch {
            let headers = codec::headers(message, true, shared.config.clock.now());
            let (subject, payload) = (subject.clone(), message.payload.clone());
            sent.push(match shared.link.check() {
                Ok(()) => {
                    let sending = shared.link.client.publish_with_headers(subject, headers, payload).await;
                    sending.map_err(error::core_publish)
                }
                Err(away) => Err(away),
            });
        }
        drop(turn);
        // Answered when the server has it, not when it is on its way.
        let reached = if batch.is_empty() { Ok(()) } else { shared.reach().await };
        let receipt = |(message, sent): (Message, Result<()>)| {
            sent?;
            reached.clone().map_err(|error| error.with_effect(Effect::Unknown))?;
            Ok(Receipt { id: message.id, cursor: None, duplicate: false })
        };
        batch.into_iter().zip(sent).map(receipt).collect()
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.validate()?;
        if options.mode.holder().is_some() {
            return Err(Error::unsupported("core subjects have no groups and no named consumers"));
        }
        if options.start != Start::Latest {
            return Err(Error::unsupported("core subjects keep no messages"));
        }
        let shared = &self.shared;
        let (subject, life, ending) =
            shared.find(event, |event| (event.subject.clone(), event.life, event.end.subscribe()))?;
        shared.link.check()?;
        let refused = |cause| error::away().with_source(cause);
        let subscriber = shared.link.client.subscribe(subject).await.map_err(refused)?;
        // From here on the server knows of it.
        shared.reach().await?;
        let tail =
            Tail::new(event.clone(), life, subscriber, ending, options.max_in_flight, shared, &self.tasks);
        let items = stream::unfold(tail, |mut tail| async move {
            let item = tail.next().await?;
            Some((item, tail))
        });
        Ok(Subscription::new(items))
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        if request.limit == 0 {
            return Err(Error::invalid("limit must be 1 or more"));
        }
        self.shared.find(event, |_| ())?;
        Err(Error::unsupported("core subjects keep no messages"))
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        busgate_core::Position::passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        batch.iter().map(|_| Err(Error::unsupported("core subjects have no leases"))).collect()
    }

    async fn health(&self) -> Health {
        let reached = match self.shared.link.check() {
            Ok(()) => self.shared.reach().await,
            Err(away) => Err(away),
        };
        match reached {
            Ok(()) => Health::healthy().with("server", &self.shared.link.client.server_info().version),
            Err(error) => Health::unhealthy(error.message()),
        }
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        self.shared.find(event, |_| Vec::new())
    }

    async fn close(&self) -> Result<()> {
        self.shared.link.close();
        let events = std::mem::take(&mut *self.shared.events.write());
        for event in events.values() {
            event.end.send_replace(Some(End::Closed));
        }
        self.tasks.close().await;
        Ok(())
    }
}
