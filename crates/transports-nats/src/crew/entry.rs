//! One message that a consumer delivered to this node.

use std::sync::Arc;

use async_nats::Subject;
use busgate_core::{Message, RetryPolicy};
use tokio::time::Instant;

use crate::{delivery::Delivered, record::Record};

/// Where a message stands on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It came back: what other nodes know of it is being asked for.
    Admitting,
    /// For the next taker.
    Ready,
    /// In a member's hands.
    Leased { member: u64, deadline: Instant },
    /// Its lease is being ended by a settlement.
    Busy { member: Option<u64> },
    /// Its lease ran out, which is being written down.
    Ending { member: Option<u64> },
    /// With the server again, until it delivers it to somebody.
    Returned {
        /// Whether the token of its last delivery still settles.
        is_open: bool,
        /// When it comes again, where that was asked for.
        due: Option<Instant>,
    },
}

impl Stand {
    /// Whether the server thinks that this node has it.
    pub(crate) const fn is_held(self) -> bool {
        !matches!(self, Self::Returned { .. })
    }

    pub(crate) const fn member(self) -> Option<u64> {
        match self {
            Self::Leased { member, .. } => Some(member),
            Self::Busy { member } | Self::Ending { member } => member,
            Self::Admitting | Self::Ready | Self::Returned { .. } => None,
        }
    }
}

/// A message and how to settle it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The delivery that a token is of.
    pub(crate) delivered: Delivered,
    /// Where to ack.
    pub(crate) reply: Subject,
    /// What is known beyond this node, and under which number.
    pub(crate) record: Record,
    pub(crate) number: u64,
    /// When the server heard of it last.
    pub(crate) touched: Instant,
    /// On which connection that was.
    pub(crate) generation: u64,
    /// Whether its consumer has another leader since.
    pub(crate) is_usurped: bool,
    pub(crate) stand: Stand,
    /// The epoch of the last delivery that somebody took, where its token still settles: nobody has taken this one yet.
    pub(crate) previous: Option<u64>,
    /// Until it is handed out.
    pub(crate) message: Option<Arc<Message>>,
    /// Of the member that has it.
    pub(crate) policy: Option<Arc<RetryPolicy>>,
}

impl Entry {
    pub(crate) const fn epoch(&self) -> u64 {
        self.delivered.epoch
    }

    /// Which attempt its delivery is.
    pub(crate) const fn attempt(&self) -> u32 {
        self.record.attempts().saturating_add(1)
    }
}
