//! JSON: the bodies of the REST door, and the frames of the WebSocket.
//!
//! Bodies follow the proto3 JSON mapping: fields are read in `snake_case` and `lowerCamelCase` alike and written in
//! `lowerCamelCase` with default values present; bytes are base64, 64-bit numbers text, durations `1.5s`, times RFC 3339.
//! What is not known is refused. Frames are `snake_case` throughout and leave absent values out.

mod ack;
mod answer;
mod bounded;
mod event;
mod frame;
mod history;
mod message;
mod object;
mod payload;
mod publish;
mod readable;

use busgate_core::{Error, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use self::message::{OWN_END, is_all_shared, room, write_members, write_own};
pub use self::{
    ack::{AckAnswer, AckBody, AckEntry, AckOutcome, ack_answer, read_ack},
    answer::{HealthAnswer, health_answer},
    bounded::Bounded,
    event::{
        CapabilitiesBody, ConfigBody, ConsumerBody, DetailAnswer, EventsAnswer, InfoBody, detail_answer,
        events_answer, read_config,
    },
    frame::{read_client_frame, write_server_frame},
    history::{GapBody, HistoryAnswer, MessageBody, history_answer},
    message::{deflated_socket_message, socket_message},
    object::Object,
    publish::{
        BatchAnswer, BatchBody, FailureBody, PublishAnswer, PublishBody, ResultBody, batch_answer,
        publish_answer, read_batch, read_lines, read_publish, write_receipt,
    },
};

/// The content type of JSON bodies.
pub const JSON: &str = "application/json";

/// The content type of a batch that has one message a line.
pub const NDJSON: &str = "application/x-ndjson";

/// Text that borrows from the input where it can.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

impl Text<'_> {
    fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a whole JSON text that is an object.
fn read<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T> {
    let Object(read) = read_value(what, bytes)?;
    Ok(read)
}

/// Reads a whole JSON text.
fn read_value<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(format!("{what}: {error}")))
}

/// Writes a body.
#[must_use]
pub fn to_bytes(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).unwrap_or_default().into()
}
