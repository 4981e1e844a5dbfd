//! What a transport can do. What it does not claim it refuses.

use std::fmt;

/// What a transport can do. A capability that is claimed is tested; one that is not is refused with `unsupported`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// An accepted message survives a crash of the gateway node.
    pub durable: bool,
    /// Messages can be read again from the beginning or after a cursor.
    pub replay: bool,
    /// Messages can be read again from a time.
    pub replay_from_time: bool,
    /// Worker groups: each message goes to one member.
    pub worker_pool: bool,
    /// An unsettled message comes back.
    pub redelivery: bool,
    /// A nack's delay is honoured.
    pub delayed_requeue: bool,
    /// A lease can be extended.
    pub extend: bool,
    /// One subscription gets each publisher's messages in order.
    pub ordered: bool,
    /// One worker group gets each key's messages in order, kept across redelivery.
    pub ordered_keys: bool,
    /// Message ids are deduplicated within a window.
    pub dedup: bool,
    /// Named consumers go on where they were.
    pub resume: bool,
    /// Any node settles what another delivered.
    pub any_node_settle: bool,
    /// How a stale settlement is kept from changing anything.
    pub fenced: Fencing,
    /// Rejected and used-up messages go to the dead-letter event in the transport itself; else the gateway does it.
    pub dead_letters: bool,
}

/// How a stale settlement is kept from changing anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// It is not.
    #[default]
    None,
    /// As far as the lease's deadline tells.
    LeaseClock,
    /// Exactly: an earlier epoch changes nothing.
    Exact,
}

impl fmt::Display for Fencing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no",
            Self::LeaseClock => "lease_clock",
            Self::Exact => "yes",
        })
    }
}

impl Capabilities {
    /// Each capability's name with whether (or how) it is there, in the order of the matrix.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, String); 14] {
        let yes = |claimed: bool| String::from(if claimed { "yes" } else { "no" });
        [
            ("durable", yes(self.durable)),
            ("replay", yes(self.replay)),
            ("replay_from_time", yes(self.replay_from_time)),
            ("worker_pool", yes(self.worker_pool)),
            ("redelivery", yes(self.redelivery)),
            ("delayed_requeue", yes(self.delayed_requeue)),
            ("extend", yes(self.extend)),
            ("ordered", yes(self.ordered)),
            ("ordered_keys", yes(self.ordered_keys)),
            ("dedup", yes(self.dedup)),
            ("resume", yes(self.resume)),
            ("any_node_settle", yes(self.any_node_settle)),
            ("fenced", self.fenced.to_string()),
            ("dead_letters", yes(self.dead_letters)),
        ]
    }
}
