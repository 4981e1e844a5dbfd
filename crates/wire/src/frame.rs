//! The frames of a WebSocket, whatever subprotocol they are written in.

use std::time::Duration;

use busgate_core::{
    AckStatus, Draft, Error, ErrorKind, EventName, Gap, Receipt, SettleAnswer, SettleRequest,
    SubscribeRequest,
};

use crate::encoding::Encoding;

/// The subprotocol of JSON text frames.
pub const SUBPROTOCOL_JSON: &str = "busgate.v1.json";

/// The subprotocol of protobuf binary frames.
pub const SUBPROTOCOL_PROTO: &str = "busgate.v1.proto";

/// The longest `ref` of a frame, in bytes.
pub const MAX_REF_BYTES: usize = 128;

/// A frame from a client.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientFrame {
    /// What the client calls it: its answer repeats it. A frame without one is answered only when it fails.
    pub reference: Option<String>,
    /// What it asks for.
    pub request: ClientRequest,
}

/// What a client asks for in a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientRequest {
    /// To subscribe; the frame's `ref` becomes the `sub` of its messages.
    Subscribe {
        /// The subscription.
        request: Box<SubscribeRequest>,
        /// How payloads are to be written.
        encoding: Encoding,
    },
    /// To end a subscription.
    Unsubscribe {
        /// Which: the `ref` of its subscribe frame.
        sub: String,
    },
    /// To publish.
    Publish {
        /// Where.
        event: EventName,
        /// What.
        draft: Draft,
    },
    /// To settle or extend deliveries.
    Settle(Vec<SettleRequest>),
    /// For a sign of life.
    Ping,
}

/// A client's frame that could not be read: what is wrong, and the `ref` to answer to if that much could be read.
#[derive(Clone, Debug)]
pub struct BadFrame {
    /// The `ref` of the frame.
    pub reference: Option<String>,
    /// What is wrong with it.
    pub error: Error,
}

/// A frame from the server, other than a message.
#[derive(Clone, Debug)]
pub enum ServerFrame {
    /// A sign of life.
    Heartbeat,
    /// Something failed.
    Error(ErrorFrame),
    /// Messages that can't be replayed.
    Gap {
        /// The subscription, on a socket that has many.
        sub: Option<String>,
        /// What is missed.
        gap: Gap,
    },
    /// The server is going away.
    Draining {
        /// When to come back.
        retry_after: Duration,
    },
    /// A client's frame was carried out.
    Ok {
        /// The `ref` of that frame.
        reference: String,
        /// What came of it.
        outcome: Outcome,
    },
}

/// What came of a client's frame.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// There is nothing to say.
    Done,
    /// A message was accepted.
    Published(Receipt),
    /// What the entries of an ack became, each with its ack id, in their order.
    Settled(Vec<(String, SettleAnswer)>),
}

/// Something failed.
#[derive(Clone, Debug)]
pub struct ErrorFrame {
    /// The `ref` of the frame that failed, if it had one.
    pub reference: Option<String>,
    /// The subscription that ended, on a socket that has many.
    pub sub: Option<String>,
    /// The delivery it is about, if any.
    pub ack_id: Option<String>,
    /// What went wrong.
    pub error: Error,
    /// What to name when asking about it.
    pub request_id: Option<String>,
}

impl ErrorFrame {
    /// A frame that tells of `error` and nothing else.
    #[must_use]
    pub const fn new(error: Error) -> Self {
        Self { reference: None, sub: None, ack_id: None, error, request_id: None }
    }

    /// The answer to a frame that failed.
    #[must_use]
    pub fn answer(reference: Option<String>, error: Error) -> Self {
        Self { reference, ..Self::new(error) }
    }

    /// What tells a client, that did not ask for an answer, of an entry that was not settled; `None` when it was.
    #[must_use]
    pub fn unsettled(ack_id: &str, answer: &SettleAnswer) -> Option<Self> {
        let kind = match answer.status {
            AckStatus::Acked
            | AckStatus::Nacked
            | AckStatus::Rejected
            | AckStatus::Extended
            | AckStatus::Released => return None,
            AckStatus::Stale | AckStatus::Unknown => ErrorKind::NotFound,
            AckStatus::NotOwner => ErrorKind::Denied,
            AckStatus::Invalid => ErrorKind::Invalid,
            AckStatus::Unavailable => ErrorKind::Unavailable,
        };
        let message = match &answer.message {
            Some(message) => format!("{}: {message}", answer.status.as_str()),
            None => answer.status.as_str().to_owned(),
        };
        Some(Self { ack_id: Some(ack_id.into()), ..Self::new(Error::new(kind, message)) })
    }
}
