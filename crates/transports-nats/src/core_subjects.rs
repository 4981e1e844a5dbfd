//! Core subjects, without JetStream: at most once, for who listens, and nothing is kept.
//!
//! Nobody tells which subjects there are: an event is registered on the nodes that were told, which tell each other.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Effect, Error, EventConfig, EventInfo, EventName, Health, Message,
    Page, Passed, Position, ReadRequest, Receipt, Result, Settled, Settlement, Start, SubscribeOptions,
    Subscription, Tasks, Transport, Turn,
};
use bytes::Bytes;
use futures_util::stream;

use self::{events::Events, tail::Tail};
use crate::{codec, config::NatsConfig, error, link::Link};

mod events;
mod tail;

/// Core NATS as a transport: live broadcast alone.
#[derive(Debug)]
pub struct CoreTransport {
    events: Arc<Events>,
    tasks: Tasks,
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
        let (events, tasks) = (Events::new(link, config)?, Tasks::new());
        events.listen(&tasks).await?;
        Ok(Arc::new(Self { events, tasks }))
    }

    /// Resolves when the server has taken what was sent before.
    async fn reach(&self) -> Result<()> {
        let nobody = format!("{}_busgate.nobody.{:x}", self.events.config.prefix, self.events.owner);
        match self.events.link.ask(nobody.into(), Bytes::new()).await {
            Ok(_) => Ok(()),
            // That nobody listens there is an answer.
            Err(refused) if refused.message() == error::no_jetstream().message() => Ok(()),
            Err(refused) => Err(refused),
        }
    }
}

#[async_trait]
impl Transport for CoreTransport {
    fn capabilities(&self) -> Capabilities {
        self.events.config.capabilities()
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        config.validate()?;
        self.events.link.check()?;
        let asks =
            EventConfig { dedup_window: config.dedup_window.filter(|it| !it.is_zero()), ..config.clone() };
        if !asks.is_default() {
            return Err(Error::unsupported("core subjects keep no messages and no ids"));
        }
        if self.events.add(event)? {
            self.events.tell_known(vec![event.to_string()]);
        }
        Ok(())
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        self.events.link.check()?;
        if !self.events.remove(event) {
            return Err(error::not_registered(event));
        }
        self.events.tell_gone(event);
        Ok(())
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.events.link.check()?;
        let info = |name: &EventName| EventInfo {
            name: name.clone(),
            config: EventConfig::default(),
            messages: None,
            bytes: None,
            oldest: None,
            newest: None,
        };
        Ok(self.events.names().iter().map(info).collect())
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let events = &self.events;
        let subject = match events.find(event, |event| event.subject.clone()) {
            Ok(subject) => subject,
            Err(refused) => return batch.iter().map(|_| Err(refused.clone())).collect(),
        };
        let mut sent = Vec::with_capacity(batch.len());
        for message in &batch {
            let headers = codec::headers(message, true, events.config.clock.now());
            let (subject, payload) = (subject.clone(), message.payload.clone());
            sent.push(match events.link.check() {
                Ok(()) => {
                    let sending = events.link.client.publish_with_headers(subject, headers, payload).await;
                    sending.map_err(error::core_publish)
                }
                Err(away) => Err(away),
            });
        }
        drop(turn);
        // Answered when the server has it, not when it is on its way.
        let reached = if batch.is_empty() { Ok(()) } else { self.reach().await };
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
        let events = &self.events;
        let (subject, life, ending) =
            events.find(event, |event| (event.subject.clone(), event.life, event.end.subscribe()))?;
        events.link.check()?;
        let subscriber = events.link.subscribe(subject).await?;
        // From here on the server knows of it.
        self.reach().await?;
        let tail = Tail::new(
            event.clone(),
            life,
            subscriber,
            ending,
            options.max_in_flight,
            Arc::clone(&events.config.clock),
            &self.tasks,
        );
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
        self.events.find(event, |_| ())?;
        Err(Error::unsupported("core subjects keep no messages"))
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        Position::passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        batch.iter().map(|_| Err(Error::unsupported("core subjects have no leases"))).collect()
    }

    async fn health(&self) -> Health {
        let reached = match self.events.link.check() {
            Ok(()) => self.reach().await,
            Err(away) => Err(away),
        };
        match reached {
            Ok(()) => Health::healthy().with("server", &self.events.link.client.server_info().version),
            Err(error) => Health::unhealthy(error.message()),
        }
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        self.events.find(event, |_| Vec::new())
    }

    async fn close(&self) -> Result<()> {
        self.events.link.close();
        self.events.close();
        self.tasks.close().await;
        Ok(())
    }
}
