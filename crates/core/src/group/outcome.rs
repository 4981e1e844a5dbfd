//! What goes into a group and what comes out of it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{Message, Settled, Timestamp};

/// One point in time on both clocks: deadlines go by `at`, stories and snapshots by `wall`.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// On the clock that never steps.
    pub at: Instant,
    /// On the wall.
    pub wall: Timestamp,
}

/// What stands at an offset.
#[derive(Clone, Debug)]
pub enum Slot {
    /// A message.
    Message(Arc<Message>),
    /// Nothing any more; what is there next stands at `next`, or will.
    Hole {
        /// The next offset worth asking for.
        next: u64,
    },
    /// A message that the source does not have at hand: it is asked for again at `until`, and nothing waits for it. Not
    /// for one that was never asked for.
    Away {
        /// When it is worth asking again.
        until: Instant,
    },
    /// Nothing yet.
    End,
}

/// A message handed out under a lease.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Where it stands.
    pub offset: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What fences the lease.
    pub epoch: u64,
    /// The message.
    pub message: Arc<Message>,
}

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its consumer said so.
    Rejected,
    /// Its attempts were used up.
    MaxDeliver,
}

/// What became of a message that nobody will get any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Where it stands.
    pub offset: u64,
    /// Why it died.
    pub reason: Reason,
    /// How often it was delivered.
    pub attempts: u32,
    /// What went wrong first.
    pub first_error: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was delivered first.
    pub first_delivered_at: Timestamp,
}

/// What became of a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Acked,
    /// It comes back at this time.
    Nacked(Instant),
    /// It came back at once; its token is good until someone takes it.
    Released,
    /// The lease runs until this time.
    Extended(Instant),
    /// It is a dead letter at its consumer's word: append it, then [`Group::bury`](super::Group::bury) it.
    Rejected(Story),
    /// Its attempts are used up: append it to the dead letters, then [`Group::bury`](super::Group::bury) it.
    DeadLettered(Story),
    /// An earlier epoch, or settled before: nothing changed.
    Stale,
    /// Never delivered: nothing changed.
    Unknown,
}

impl Outcome {
    /// What the one who settled is told.
    #[must_use]
    pub const fn settled(&self) -> Settled {
        match self {
            Self::Acked => Settled::Acked,
            Self::Nacked(_) | Self::DeadLettered(_) => Settled::Nacked,
            Self::Released => Settled::Released,
            Self::Rejected(_) => Settled::Rejected,
            Self::Extended(_) => Settled::Extended,
            Self::Stale => Settled::Stale,
            Self::Unknown => Settled::Unknown,
        }
    }

    /// The story of a message that has to be buried now.
    #[must_use]
    pub const fn story(&self) -> Option<&Story> {
        match self {
            Self::Rejected(story) | Self::DeadLettered(story) => Some(story),
            _ => None,
        }
    }
}
