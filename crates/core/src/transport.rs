//! The port every back end implements, and the network client as well.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{
    Capabilities, Cursor, EventConfig, EventName, Gap, Health, Holder, Message, Passed, Places, Receipt,
    Result, Settled, Settlement, Start, SubscribeOptions, Subscription, Turn,
};

/// A bus back end.
///
/// The rules, each a law of the conformance suite:
/// - `Ok` on publish means that the message is as durable as [`Capabilities::durable`] claims.
/// - At least once: a leased delivery that is not settled comes back, with its attempt counted.
/// - A lease starts when the subscription yields the delivery, not when it was read ahead.
/// - A token of an earlier epoch, or of a settled delivery, changes nothing and answers [`Settled::Stale`]. A token
///   whose lease ran out, but whose message nobody holds yet, still settles.
/// - What is not claimed is refused with `unsupported`, never ignored.
/// - Every call may be dropped half-way: the effect is then unknown, and the state stays sound.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// What it can do. It does not change while the transport is open.
    fn capabilities(&self) -> Capabilities;

    /// Makes the event known. Registering again is fine with the same configuration, or with none asked for.
    ///
    /// # Errors
    /// `exists` when it is registered with another configuration; `unsupported` when the configuration asks for what
    /// the transport cannot do.
    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()>;

    /// Forgets the event and ends its subscriptions (without an error).
    ///
    /// # Errors
    /// `not_found` when it is not registered.
    async fn unregister(&self, event: &EventName) -> Result<()>;

    /// The registered events, by name.
    ///
    /// # Errors
    /// `unavailable`, `timeout`.
    async fn events(&self) -> Result<Vec<EventInfo>>;

    /// Publishes a batch in order; the answers are in the order of the messages, each for itself.
    ///
    /// A message whose id the event remembers is not added; its receipt says `duplicate`.
    ///
    /// # Errors
    /// Per message: `not_found`, `exhausted`, `unavailable`, `timeout`; the effect says whether it may be there.
    async fn publish(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        self.publish_in_turn(event, batch, Turn::alone()).await
    }

    /// As [`Transport::publish`], for a publisher whose next batch waits for its turn only, not for the answers: `turn` is
    /// let go of once these messages are in front of whatever is published from then on, as far as nothing fails. That is
    /// when they are answered, at the latest.
    ///
    /// # Errors
    /// As [`Transport::publish`].
    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>>;

    /// Subscribes to one event. A named consumer that subscribes again takes over: the earlier subscription ends with
    /// `exists`.
    ///
    /// # Errors
    /// `not_found`; `unsupported` for a mode or start the transport does not claim; `invalid` for a cursor that is not
    /// one of its own. A cursor that retention has passed by is no error but a [`Gap`], and delivery goes on with the
    /// oldest message held.
    async fn subscribe(self: Arc<Self>, event: &EventName, options: SubscribeOptions)
    -> Result<Subscription>;

    /// Reads what is held, without a subscription and without leases.
    ///
    /// # Errors
    /// As for [`Transport::subscribe`]; `unsupported` without `replay`.
    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page>;

    /// The message whose own place `place` is, if it is held.
    ///
    /// As it stands here it reads what is before the place, which does where an event has one partition.
    ///
    /// # Errors
    /// As for [`Transport::read`].
    async fn find(&self, event: &EventName, place: &Cursor) -> Result<Option<Arc<Message>>> {
        let Some(before) = Places::before_message(place)? else { return Ok(None) };
        let request = ReadRequest { start: Start::After(before), limit: 1, max_bytes: 1 };
        let page = self.read(event, request).await?;
        let found = page.messages.into_iter().find(|(cursor, _)| cursor == place);
        Ok(found.map(|(_, message)| message))
    }

    /// Where `message` of a live tail stands for a reader who has come as far as `reader`. Pure and cheap.
    ///
    /// # Errors
    /// `invalid` when one of them is not a cursor of this transport.
    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed>;

    /// Settles a batch; the answers are in the order of the settlements, each for itself.
    ///
    /// # Errors
    /// Per entry: `invalid` for a token that is not one of its own, `unsupported`, `unavailable`, `timeout`.
    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>>;

    /// Tries the data path.
    async fn health(&self) -> Health;

    /// How far each group and named consumer of the event is.
    ///
    /// # Errors
    /// `not_found`, `unavailable`, `timeout`.
    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>>;

    /// Ends every subscription with `unavailable` and lets go of every resource. Later calls answer `unavailable`;
    /// closing again is fine.
    ///
    /// # Errors
    /// When something could not be brought to rest; it is closed all the same.
    async fn close(&self) -> Result<()>;
}

/// What is known of a registered event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventInfo {
    /// Its name.
    pub name: EventName,
    /// What it was registered with.
    pub config: EventConfig,
    /// How many messages are held, if known.
    pub messages: Option<u64>,
    /// How many bytes of messages are held, if known.
    pub bytes: Option<u64>,
    /// The place of the oldest message held.
    pub oldest: Option<Cursor>,
    /// The place of the newest message held.
    pub newest: Option<Cursor>,
}

/// How far a group or named consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerLag {
    /// Who.
    pub holder: Holder,
    /// How many messages are neither settled nor leased, if known.
    pub waiting: Option<u64>,
    /// How many are leased.
    pub in_flight: u64,
    /// How many are held back for a later redelivery.
    pub delayed: u64,
    /// How many subscriptions it has on this node.
    pub members: u64,
}

/// What part of an event to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// From where; `Latest` reads nothing and tells where the end is.
    pub start: Start,
    /// How many messages at most; 1 or more.
    pub limit: usize,
    /// How many bytes at most, but always one message.
    pub max_bytes: usize,
}

/// A part of an event.
#[derive(Clone, Debug)]
pub struct Page {
    /// What could not be had before the first message.
    pub gap: Option<Gap>,
    /// The messages, each with its place.
    pub messages: Vec<(Cursor, Arc<Message>)>,
    /// Where to go on: read [`Start::After`] it next. It is a valid place even when the event holds nothing.
    pub next: Cursor,
    /// Whether this was the end when it was read.
    pub end: bool,
}
