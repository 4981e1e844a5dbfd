//! Live streams: whoever is there gets what is broadcast, and a slow one never holds up the others.

mod client;
mod event;
mod registry;
mod tail;

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

pub use self::{
    client::{ClientInfo, StreamClient, Streamed},
    event::StreamEvent,
    registry::CLIENT_QUEUE,
};
use self::{
    registry::{Live, Registry},
    tail::Tail,
};
use crate::{
    Bus, Clock, Error, ErrorKind, EventName, Receipt, Result, Start, SubscribeOptions, SystemClock, Tasks,
    Transport,
};

/// The events of streams are called `live.<stream>` unless told otherwise.
pub const DEFAULT_STREAM_PREFIX: &str = "live";

/// Streams for whoever is there: no groups, no acks, no history.
///
/// A stream is an ordinary event underneath (`live.<stream>`), so that a broadcast reaches the subscribers of every door
/// and node, and what anybody publishes to that event reaches the stream's clients. A stream is read once, however many
/// clients it has here, and not at all without any.
///
/// ```
/// use busgate_core::{Broadcaster, broadcaster::Streamed};
/// use busgate_transports_memory::{MemoryConfig, MemoryTransport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> busgate_core::Result<()> {
/// let broadcaster = Broadcaster::new(MemoryTransport::new(MemoryConfig::default()));
/// let mut client = broadcaster.subscribe("orders").await?;
/// broadcaster.broadcast("orders", "order_created", "New order received", [("order_id", 7)]).await?;
///
/// let Some(Streamed::Event(event)) = client.next().await else { panic!("nobody is slow here") };
/// assert_eq!((event.kind.as_str(), event.stream_id.as_str()), ("order_created", "orders"));
/// assert_eq!(broadcaster.active_streams()["orders"], 1);
///
/// drop(client);
/// assert_eq!(broadcaster.total_clients(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Broadcaster {
    bus: Bus,
    clock: Arc<dyn Clock>,
    prefix: EventName,
    registry: Arc<Registry>,
    tasks: Tasks,
}

impl Broadcaster {
    /// Streams over `transport`, their events called `live.…`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self::over(Bus::new(transport), EventName::known(DEFAULT_STREAM_PREFIX))
    }

    /// Streams over a bus, with its source and layers, their events called `<prefix>.…`.
    #[must_use]
    pub fn over(bus: Bus, prefix: EventName) -> Self {
        let (registry, clock) = (Arc::new(Registry::default()), SystemClock::shared());
        Self { bus, clock, prefix, registry, tasks: Tasks::new() }
    }

    /// A new client of a stream: it gets what is broadcast from now on, until it is dropped or unsubscribed.
    ///
    /// # Errors
    /// `invalid` when the stream can't be part of an event's name, `unavailable` after [`Broadcaster::close`], and what
    /// the transport answers.
    pub async fn subscribe(&self, stream: &str) -> Result<StreamClient> {
        if self.tasks.stopping().is_cancelled() {
            return Err(Error::unavailable("the broadcaster is closed"));
        }
        let now = self.clock.now();
        if let Some(client) = self.registry.join(stream, now) {
            return Ok(client);
        }
        let event = self.event(stream)?;
        let subscription = self.known(&event, || self.open(&event)).await?;
        // Somebody else may have been as fast: then this subscription ends here.
        let (client, opened) = self.registry.join_or_open(stream, now, Live::new);
        if let Some(sender) = opened {
            let registry = Arc::downgrade(&self.registry);
            let tail = Tail { registry, stream: stream.to_owned(), sender: sender.clone() };
            self.registry.ends_with(stream, &sender, self.tasks.spawn(tail.run(subscription)));
        }
        Ok(client)
    }

    /// Ends a client; `false` when there is none of that id.
    pub fn unsubscribe(&self, client_id: &str) -> bool {
        self.registry.leave(client_id)
    }

    /// Sends an event to everyone who listens to the stream, here and at every other door and node. `data` is anything
    /// JSON can say; `()` for nothing.
    ///
    /// # Errors
    /// `invalid` for a bad stream, an empty kind, or data that JSON can't say; and what the transport answers.
    pub async fn broadcast(
        &self,
        stream: &str,
        kind: &str,
        message: &str,
        data: impl Serialize,
    ) -> Result<Receipt> {
        let event = StreamEvent::new(kind, message, data, self.clock.now())?;
        self.send(stream, event).await
    }

    /// Sends an event to every stream there is: those with clients here, and those the transport knows. The answers are
    /// by stream, each for itself.
    ///
    /// # Errors
    /// `invalid` for an empty kind or data that JSON can't say, and what the transport answers when asked for its
    /// events.
    pub async fn broadcast_to_all(
        &self,
        kind: &str,
        message: &str,
        data: impl Serialize,
    ) -> Result<BTreeMap<String, Result<Receipt>>> {
        let event = StreamEvent::new(kind, message, data, self.clock.now())?;
        let known = self.bus.transport().events().await?;
        let mut streams = self.active_streams();
        let known = known.iter().filter_map(|info| self.stream_of(&info.name));
        streams.extend(known.map(|stream| (stream.to_owned(), 0)));
        let mut answers = BTreeMap::new();
        for stream in streams.into_keys() {
            let answer = self.send(&stream, event.clone()).await;
            answers.insert(stream, answer);
        }
        Ok(answers)
    }

    /// The streams that have clients here, and how many.
    #[must_use]
    pub fn active_streams(&self) -> BTreeMap<String, usize> {
        self.registry.active()
    }

    /// The clients of a stream, in the order they came.
    #[must_use]
    pub fn stream_clients(&self, stream: &str) -> Vec<ClientInfo> {
        self.registry.clients(stream)
    }

    /// How many clients there are here, of all streams.
    #[must_use]
    pub fn total_clients(&self) -> usize {
        self.registry.active().values().sum()
    }

    /// How many streams have clients here.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.registry.active().len()
    }

    /// Whether the stream has clients here.
    #[must_use]
    pub fn is_stream_active(&self, stream: &str) -> bool {
        self.registry.is_active(stream)
    }

    /// Ends all clients, once they had what was queued for them. The transport stays open.
    pub async fn close(&self) {
        self.registry.close();
        self.tasks.close().await;
    }

    /// The event under a stream.
    ///
    /// # Errors
    /// `invalid` when that is no event name.
    pub fn event(&self, stream: &str) -> Result<EventName> {
        EventName::new(format!("{}.{stream}", self.prefix))
    }

    fn stream_of<'a>(&self, event: &'a EventName) -> Option<&'a str> {
        event.as_str().strip_prefix(self.prefix.as_str())?.strip_prefix('.')
    }

    async fn open(&self, event: &EventName) -> Result<crate::Subscription> {
        let transport = Arc::clone(self.bus.transport());
        transport.subscribe(event, SubscribeOptions::broadcast(Start::Latest)).await
    }

    async fn send(&self, stream: &str, event: StreamEvent) -> Result<Receipt> {
        let event = StreamEvent { stream_id: stream.to_owned(), ..event };
        let name = self.event(stream)?;
        let typed = self.bus.event::<StreamEvent>(&name)?;
        self.known(&name, || async { typed.publish(&event).id(&event.id).await }).await
    }

    /// Does `call`; when the event is not known yet, makes it known and does `call` again.
    async fn known<T, F: Future<Output = Result<T>>>(
        &self,
        event: &EventName,
        call: impl Fn() -> F,
    ) -> Result<T> {
        let missing = |error: &Error| error.kind() == ErrorKind::NotFound;
        match call().await {
            Err(error) if missing(&error) => {
                self.bus.event::<()>(event)?.register().await?;
                call().await
            }
            answer => answer,
        }
    }
}
