//! The delivery contract of busgate as types: messages, leases, the [`Transport`] port, and the gateway over it.
//!
//! Core knows no protocol, does no I/O and has no back end. A back end is anything that implements [`Transport`] and
//! passes the conformance suite; a door is anything that turns a protocol into calls of the gateway.

mod ack;
mod authorizer;
pub mod broadcaster;
pub mod bus;
mod caller;
mod capabilities;
mod clock;
mod cursor;
mod dead_letter;
mod dedup;
mod delivery;
mod dormant;
mod envelope;
mod error;
mod gateway;
mod group;
mod health;
mod hub;
mod lease;
mod limits;
mod message;
mod name;
mod options;
mod own_event;
mod position;
mod subscription;
mod sync;
mod tasks;
mod transport;
mod turn;
pub mod url;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use self::dead_letter::fuzzing;
pub use self::{
    ack::{AckSecret, Deadlines, MIN_SECRET_BYTES},
    authorizer::{AllowAll, Authorizer, DenyAll, Operation, Rule, Rules},
    broadcaster::Broadcaster,
    bus::{Bus, Failure},
    caller::Caller,
    capabilities::{Capabilities, Fencing},
    clock::{Clock, SystemClock, Timestamp},
    cursor::{Cursor, MAX_CURSOR_BYTES, Passed},
    dead_letter::{DEAD_LETTER_META, DeadLetters, Origin, dead_letter},
    dedup::{DEFAULT_MAX_IDS, DedupWindow},
    delivery::Delivery,
    dormant::Dormant,
    envelope::{ENCODING_SLOTS, Envelope},
    error::{Effect, Error, ErrorKind, Result, Retry},
    gateway::{
        AckKey, AckMode, AckStatus, Deliveries, Draft, End, EventDetail, Gateway, GatewayConfig, History,
        HistoryRequest, MAX_PAGE, MAX_PAGE_BYTES, Outbound, Outgoing, Session, SettleAction, SettleAnswer,
        SettleRequest, SlowPolicy, Stats, SubscribeRequest,
    },
    group::{
        DEFAULT_MAX_HELD, Group, Keyed, MAX_ERROR_BYTES, Moment, Outcome, Reason, Slot, Standing, Story,
        Taken, Unfinished,
    },
    health::{Health, HealthStatus},
    lease::{Holder, LeaseToken, MAX_ENTRY_BYTES, Nack, Settled, Settlement, Verb},
    limits::{DEFAULT_MAX_PAYLOAD_BYTES, HARD_MAX_PAYLOAD_BYTES, Limits},
    message::{MAX_ID_BYTES, Message, MessageId, Metadata, Receipt},
    name::{ConsumerName, DEAD_LETTER_PREFIX, EventName, GroupName, MAX_NAME_BYTES, OWN_PREFIX, Pattern},
    options::{
        ACK_WAIT_RANGE, DEFAULT_ACK_WAIT, DEFAULT_BACKOFF, DEFAULT_DEDUP_WINDOW, DEFAULT_MAX_DELIVER,
        DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_IN_FLIGHT_BYTES, EventConfig, MAX_NACK_DELAY, MAX_SETTLING, Mode,
        RetryPolicy, Start, SubscribeOptions,
    },
    position::{Places, Position},
    subscription::{Gap, Item, Subscription},
    tasks::Tasks,
    transport::{ConsumerLag, EventInfo, Page, ReadRequest, Transport},
    turn::{Next, Turn},
};
