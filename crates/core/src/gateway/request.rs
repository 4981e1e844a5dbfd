//! What the doors ask of the gateway, and what it answers.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    Capabilities, ConsumerLag, ConsumerName, Cursor, DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_IN_FLIGHT_BYTES,
    Envelope, Error, ErrorKind, EventInfo, Gap, GroupName, MessageId, Metadata, Mode, Nack, Pattern, Start,
    Verb,
};

/// A message as a publisher hands it in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Its id; a UUIDv7 when absent.
    pub id: Option<MessageId>,
    /// The payload, as it is.
    pub payload: Bytes,
    /// Text that travels along.
    pub metadata: Metadata,
    /// What orders and partitions it.
    pub key: Option<String>,
    /// The media type of the payload.
    pub content_type: Option<String>,
    /// Who published it; the caller's name, or `remote` for an anonymous one, when absent.
    pub source: Option<String>,
}

/// Whether deliveries wait for the client's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckMode {
    /// A delivery is acked as soon as it is handed to the socket.
    Auto,
    /// The client settles each delivery by its ack id.
    #[default]
    Manual,
}

/// What happens to a subscriber that does not keep up with a live event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowPolicy {
    /// It falls behind and reads what it missed from the transport; needs `replay`.
    Pause,
    /// It loses the oldest, and is told so by a gap.
    DropOldest,
    /// It gets only the newest.
    Conflate,
    /// Its subscription ends; it can resume from its cursor.
    Disconnect,
}

/// A subscription as a door asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// One event, or a pattern over several.
    pub target: Pattern,
    /// Who gets what.
    pub mode: Mode,
    /// Where it starts.
    pub start: Start,
    /// Whether deliveries wait for the client's word.
    pub ack: AckMode,
    /// How long a lease runs; the gateway's default when absent.
    pub ack_wait: Option<Duration>,
    /// How often a message is delivered before it is a dead letter; the gateway's default when absent.
    pub max_deliver: Option<u32>,
    /// The delays before the second, third, … delivery, the last repeating; the gateway's default when absent.
    pub backoff: Option<Vec<Duration>>,
    /// How many unsettled deliveries the client may hold; see [`SubscribeRequest::window`].
    pub max_in_flight: Option<usize>,
    /// How many bytes of them.
    pub max_in_flight_bytes: usize,
    /// Older messages are settled silently and not delivered.
    pub max_age: Option<Duration>,
    /// While the client is busy only the newest message waits; unnamed broadcast only.
    pub latest_only: bool,
    /// How many messages an unnamed broadcast subscriber may be behind before `slow` acts; the ring's size when absent.
    pub buffer: Option<usize>,
    /// What happens then. When absent: `Disconnect` for a live start, else `Pause` where the transport can replay.
    pub slow: Option<SlowPolicy>,
}

impl SubscribeRequest {
    /// Unnamed live broadcast of `target` with manual acks and every default.
    #[must_use]
    pub fn broadcast(target: Pattern) -> Self {
        Self {
            target,
            mode: Mode::Broadcast { consumer: None },
            start: Start::Latest,
            ack: AckMode::Manual,
            ack_wait: None,
            max_deliver: None,
            backoff: None,
            max_in_flight: None,
            max_in_flight_bytes: DEFAULT_MAX_IN_FLIGHT_BYTES,
            max_age: None,
            latest_only: false,
            buffer: None,
            slow: None,
        }
    }

    /// A member of a worker group with every default.
    #[must_use]
    pub fn pool(target: Pattern, group: GroupName) -> Self {
        Self { mode: Mode::WorkerPool { group }, start: Start::Beginning, ..Self::broadcast(target) }
    }

    /// A named broadcast consumer with every default.
    #[must_use]
    pub fn consumer(target: Pattern, consumer: ConsumerName) -> Self {
        Self { mode: Mode::Broadcast { consumer: Some(consumer) }, ..Self::broadcast(target) }
    }

    /// How many unsettled deliveries the client may hold: what it asked for, else 1 with `latest_only`, else 256.
    #[must_use]
    pub fn window(&self) -> usize {
        self.max_in_flight.unwrap_or(if self.latest_only { 1 } else { DEFAULT_MAX_IN_FLIGHT })
    }
}

/// What a session yields. After [`Outgoing::End`] there is nothing more.
#[derive(Debug)]
pub enum Outgoing {
    /// A message for the client.
    Message(Outbound),
    /// Messages the client can't have.
    Gap(Gap),
    /// The gateway goes away soon: finish what you hold, and come back after this time.
    Draining {
        /// When to come back, with jitter already in it.
        retry_after: Duration,
    },
    /// The session is over.
    End(End),
}

/// A message for one client.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The message, shared with every other subscriber.
    pub envelope: Arc<Envelope>,
    /// Which attempt this is, from 1; on the wire `retry_count` is one less.
    pub attempt: u32,
    /// What the client settles it by; `None` with automatic acks.
    pub ack_id: Option<String>,
    /// Which delivery of its session it is, from 1: what it can be settled by as well, for as long as the session lasts;
    /// `None` with automatic acks.
    pub number: Option<NonZeroU64>,
}

/// Why a session is over.
#[derive(Clone, Debug)]
pub enum End {
    /// The event was unregistered.
    Closed,
    /// The client did not keep up.
    SlowConsumer,
    /// The gateway has drained.
    Drained {
        /// When to come back, with jitter already in it.
        retry_after: Duration,
    },
    /// Something failed.
    Failed(Error),
}

impl End {
    /// The end as an error of the table.
    #[must_use]
    pub fn error(&self) -> Error {
        match self {
            Self::Closed => Error::new(ErrorKind::Closed, "the event was unregistered"),
            Self::SlowConsumer => Error::unavailable("slow consumer: resume after the last cursor")
                .with_retry_after(Duration::from_secs(1)),
            Self::Drained { retry_after } => {
                Error::unavailable("the gateway is draining").with_retry_after(*retry_after)
            }
            Self::Failed(error) => error.clone(),
        }
    }
}

/// What a client settles a delivery by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckKey {
    /// Its ack id: from anywhere, at any node.
    Id(String),
    /// Its number in the session it came by.
    Number(NonZeroU64),
}

/// One ack id and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleRequest {
    /// What the delivery carried.
    pub ack_id: String,
    /// What to do.
    pub action: SettleAction,
}

/// What a client can say about a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettleAction {
    /// It is done.
    Ack,
    /// It comes back.
    Nack(Nack),
    /// It goes to the dead letters.
    Reject {
        /// Why.
        reason: String,
    },
    /// The lease runs for this long from now.
    Extend(Duration),
    /// It comes back at once: the client lets go of it.
    Release {
        /// Whether the delivery counts as an attempt.
        counted: bool,
    },
}

impl From<SettleAction> for Verb {
    fn from(action: SettleAction) -> Self {
        match action {
            SettleAction::Ack => Self::Ack,
            SettleAction::Nack(nack) => Self::Nack(nack),
            SettleAction::Reject { reason } => Self::Reject { reason },
            SettleAction::Extend(duration) => Self::Extend(duration),
            SettleAction::Release { counted } => Self::Release { counted },
        }
    }
}

/// What became of one [`SettleRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleAnswer {
    /// The outcome.
    pub status: AckStatus,
    /// More about it, for people.
    pub message: Option<String>,
}

/// The outcomes of settling, as every door names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckStatus {
    /// Done, durably.
    Acked,
    /// It comes back.
    Nacked,
    /// It went to the dead letters.
    Rejected,
    /// The lease runs on.
    Extended,
    /// An earlier epoch, or settled already: nothing changed.
    Stale,
    /// No such lease here any more: nothing changed.
    Unknown,
    /// Another principal received it: nothing changed.
    NotOwner,
    /// Forged or malformed: nothing changed.
    Invalid,
    /// The back end could not be asked: try again.
    Unavailable,
    /// It comes back at once.
    Released,
}

impl AckStatus {
    /// Every status.
    pub const ALL: [Self; 10] = [
        Self::Acked,
        Self::Nacked,
        Self::Rejected,
        Self::Extended,
        Self::Stale,
        Self::Unknown,
        Self::NotOwner,
        Self::Invalid,
        Self::Unavailable,
        Self::Released,
    ];

    /// The name that travels on the wire: `acked`, `not_owner`, …
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Nacked => "nacked",
            Self::Rejected => "rejected",
            Self::Extended => "extended",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
            Self::NotOwner => "not_owner",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Released => "released",
        }
    }
}

/// Everything known of one event.
#[derive(Clone, Debug)]
pub struct EventDetail {
    /// Its registration and what it holds.
    pub info: EventInfo,
    /// What its transport can do.
    pub capabilities: Capabilities,
    /// How far its groups and named consumers are.
    pub consumers: Vec<ConsumerLag>,
}

/// One page of an event's history, as a door asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRequest {
    /// From where.
    pub start: Start,
    /// How many messages at most: 1 to [`MAX_PAGE`](crate::MAX_PAGE).
    pub limit: usize,
    /// How many bytes of them at most, but always one message; the gateway's own bound
    /// ([`MAX_PAGE_BYTES`](crate::MAX_PAGE_BYTES)) holds in any case.
    pub max_bytes: Option<usize>,
}

/// One page of an event's history.
#[derive(Clone, Debug)]
pub struct History {
    /// What could not be had before the first message.
    pub gap: Option<Gap>,
    /// The messages, oldest first.
    pub messages: Vec<Arc<Envelope>>,
    /// Where to go on.
    pub next: Cursor,
    /// Whether this was the end.
    pub end: bool,
}
