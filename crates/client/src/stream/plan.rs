//! What a subscription asks for, and what its gateway can do.

use std::time::Duration;

use busgate_core::{AckMode, DEFAULT_ACK_WAIT, Mode, SubscribeRequest};

/// What a subscription asks for, for as long as it lives.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) request: SubscribeRequest,
    /// Whether the gateway can replay: then a broken stream leaves no hole.
    pub(crate) replay: bool,
    /// Whether leases can be extended: without that nothing is taken before it is asked for.
    pub(crate) extend: bool,
    /// How many messages may wait in the client.
    pub(crate) buffer: usize,
}

impl Plan {
    pub(crate) fn is_unnamed(&self) -> bool {
        self.request.mode == Mode::Broadcast { consumer: None }
    }

    /// Whether deliveries are to be settled.
    pub(crate) fn is_leased(&self) -> bool {
        self.request.ack == AckMode::Manual
    }

    pub(crate) fn ack_wait(&self) -> Duration {
        self.request.ack_wait.unwrap_or(DEFAULT_ACK_WAIT)
    }

    /// How many deliveries may wait here for the program.
    pub(crate) fn room(&self) -> usize {
        if self.extend || self.is_unnamed() { self.buffer.min(self.request.window()) } else { 1 }
    }
}
