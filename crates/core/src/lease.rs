//! A lease is data: what any node needs to settle a delivery.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{ConsumerName, EventName, GroupName};

/// The longest entry of a lease token, in bytes.
///
/// A transport of a broker needs a few dozen. A gateway that is another gateway's transport puts that one's ack id in
/// it, and an ack id of the longest names is about 600 characters longer than four thirds of the entry it carries: this
/// leaves room for four gateways one behind the other.
pub const MAX_ENTRY_BYTES: usize = 4096;

/// Whose progress a lease belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A worker group: each message goes to one of its members.
    Group(GroupName),
    /// A named broadcast consumer with its own checkpoint.
    Consumer(ConsumerName),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "group {name}"),
            Self::Consumer(name) => write!(f, "consumer {name}"),
        }
    }
}

/// One delivery's claim on a message. It is plain data: any node's transport can settle it.
///
/// A token of an earlier epoch changes nothing: it settles as [`Settled::Stale`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    /// The event the message is in.
    pub event: EventName,
    /// The group or consumer the lease belongs to.
    pub holder: Holder,
    /// Which message, in the transport's own words (at most [`MAX_ENTRY_BYTES`]).
    pub entry: Bytes,
    /// Which delivery of that message.
    pub epoch: u64,
}

/// What to do with a delivered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is done.
    Ack,
    /// It comes back.
    Nack(Nack),
    /// It goes to the dead letters at once, with this reason.
    Reject {
        /// Why, for the dead letter's story.
        reason: String,
    },
    /// The lease runs for this long from now.
    Extend(Duration),
    /// It comes back at once: its holder is gone or lets go. The token stays good until somebody else takes the message.
    Release {
        /// Whether the delivery counts as an attempt: yes when the holder went away with it, no when the gateway drains
        /// or never handed it off.
        counted: bool,
    },
}

/// How a message comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nack {
    /// After how long; `None` means by the backoff schedule of the subscription.
    pub delay: Option<Duration>,
    /// What went wrong, kept for the dead letter's story.
    pub error: Option<String>,
}

/// One token and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The lease.
    pub token: LeaseToken,
    /// What to do.
    pub verb: Verb,
}

/// What became of a settlement. Each but the last two changed what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settled {
    /// Done, as durably as the transport claims.
    Acked,
    /// It will come back (or, with its attempts used up, it went to the dead letters).
    Nacked,
    /// It went to the dead letters.
    Rejected,
    /// The lease runs on.
    Extended,
    /// It comes back, and the token is still good for as long as nobody takes the message.
    Released,
    /// An earlier epoch, or settled before: nothing changed.
    Stale,
    /// There is no such lease here any more: nothing changed.
    Unknown,
}
