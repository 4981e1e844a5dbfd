//! What a stream carries.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Message, MessageId, Result, Timestamp};

/// The kind of what others publish to a stream's event without saying one.
const OTHERS_KIND: &str = "message";

/// What a stream carries, as its clients get it in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamEvent {
    /// Its id: the message's.
    pub id: String,
    /// What kind of event it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// A line for people.
    pub message: String,
    /// Whatever else there is to say.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// When it was broadcast, in seconds since the Unix epoch.
    pub timestamp: i64,
    /// The stream.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stream_id: String,
}

impl StreamEvent {
    pub(super) fn new(kind: &str, message: &str, data: impl Serialize, now: Timestamp) -> Result<Self> {
        if kind.is_empty() {
            return Err(Error::invalid("the type of a stream's event must not be empty"));
        }
        let data = serde_json::to_value(data)
            .map_err(|error| Error::invalid(format!("the data of a stream's event: {error}")))?;
        Ok(Self {
            id: MessageId::generate().to_string(),
            kind: kind.to_owned(),
            message: message.to_owned(),
            data,
            timestamp: seconds(now),
            stream_id: String::new(),
        })
    }

    /// As a client of `stream` gets what stands in its event, whoever published it.
    pub(super) fn read(message: &Message, stream: &str) -> Self {
        if let Ok(event) = serde_json::from_slice::<Self>(&message.payload) {
            return Self { stream_id: stream.to_owned(), ..event };
        }
        let text = || Value::String(String::from_utf8_lossy(&message.payload).into_owned());
        Self {
            id: message.id.to_string(),
            kind: OTHERS_KIND.to_owned(),
            message: String::new(),
            data: serde_json::from_slice(&message.payload).unwrap_or_else(|_| text()),
            timestamp: seconds(message.timestamp),
            stream_id: stream.to_owned(),
        }
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(1000)
}
