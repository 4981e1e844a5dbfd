//! A page of history in JSON.

use std::collections::BTreeMap;

use busgate_core::{Envelope, Gap, History};
use serde::{Deserialize, Serialize};

use super::payload::base64_text;
use crate::time;

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryAnswer {
    /// The messages, oldest first.
    pub messages: Vec<MessageBody>,
    /// Where to go on: give it as `after`.
    pub next: String,
    /// Whether this was the end when it was read.
    pub end: bool,
    /// What could not be had before the first message.
    pub gap: Option<GapBody>,
}

/// Messages that can't be had any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GapBody {
    /// How many, if known: a number, written as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// Where it goes on; empty when nothing is held.
    pub cursor: String,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessageBody {
    /// Its id.
    pub id: String,
    /// Who published it.
    pub source: String,
    /// Its payload in base64.
    pub payload: String,
    /// Text that travels along.
    pub metadata: BTreeMap<String, String>,
    /// When it was taken in.
    pub timestamp: String,
    /// How often it was delivered before.
    pub retry_count: u32,
    /// What it is settled by; empty when there is nothing to settle.
    pub ack_id: String,
    /// The event it is in.
    pub event: String,
    /// Its place in the event.
    pub cursor: String,
    /// What orders and partitions it.
    pub key: String,
    /// The media type of the payload.
    pub content_type: String,
}

impl From<&Envelope> for MessageBody {
    fn from(envelope: &Envelope) -> Self {
        let message = &envelope.message;
        Self {
            id: message.id.to_string(),
            source: message.source.clone(),
            payload: base64_text(&message.payload),
            metadata: message.metadata.clone(),
            timestamp: time::rfc3339(message.timestamp),
            retry_count: 0,
            ack_id: String::new(),
            event: envelope.event.to_string(),
            cursor: envelope.cursor.to_string(),
            key: message.key.clone().unwrap_or_default(),
            content_type: message.content_type.clone().unwrap_or_default(),
        }
    }
}

impl From<&Gap> for GapBody {
    fn from(gap: &Gap) -> Self {
        Self {
            missed: gap.missed.map(|count| count.to_string()),
            cursor: gap.cursor.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// The answer to a request for history.
#[must_use]
pub fn history_answer(history: &History) -> HistoryAnswer {
    HistoryAnswer {
        messages: history.messages.iter().map(|envelope| MessageBody::from(&**envelope)).collect(),
        next: history.next.to_string(),
        end: history.end,
        gap: history.gap.as_ref().map(GapBody::from),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use busgate_core::{Cursor, EventName, Message, MessageId};

    use super::*;
    use crate::json::to_bytes;

    #[test]
    fn a_page_is_written_as_proto_json_with_defaults_present() {
        let message = Arc::new(Message::new(MessageId::new("m").unwrap(), "hi"));
        let cursor = Cursor::new("c").unwrap();
        let envelope = Envelope::new(EventName::new("e").unwrap(), message, cursor.clone());
        let gap = Some(Gap { missed: Some(2), cursor: None });
        let page = History { gap, messages: vec![Arc::new(envelope)], next: cursor, end: true };
        let expected = concat!(
            r#"{"messages":[{"id":"m","source":"","payload":"aGk=","metadata":{},"timestamp":"1970-01-01T00:00:00Z","#,
            r#""retryCount":0,"ackId":"","event":"e","cursor":"c","key":"","contentType":""}],"next":"c","end":true,"#,
            r#""gap":{"missed":"2","cursor":""}}"#
        );
        assert_eq!(to_bytes(&history_answer(&page)), expected);
    }
}
