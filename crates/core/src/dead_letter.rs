//! What a message looks like among the dead letters: itself, with its story in the metadata.

mod fallback;

use sha2::{Digest, Sha256};

pub use self::fallback::DeadLetters;
#[cfg(feature = "fuzzing")]
pub use self::fallback::fuzzing;

use crate::{Cursor, EventName, Holder, Message, MessageId, Metadata, Reason, Story, Timestamp};

/// The prefix of every metadata key of a dead letter's story.
pub const DEAD_LETTER_META: &str = "busgate-dlq-";

/// Whose dead letter it is, and where its message stands.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The event it left.
    pub event: &'a EventName,
    /// The group or consumer that could not do it.
    pub holder: &'a Holder,
    /// The message's place in the event.
    pub cursor: &'a Cursor,
}

impl Reason {
    /// The name in a dead letter's metadata: `rejected` or `max_deliver`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::MaxDeliver => "max_deliver",
        }
    }
}

/// The dead letter of `message`: payload, key, content type and metadata as they were, and the story as
/// `busgate-dlq-…` metadata (times in milliseconds since the Unix epoch).
///
/// Its id follows from where it comes from, so that one letter written twice is one letter.
#[must_use]
pub fn dead_letter(message: &Message, origin: Origin<'_>, story: &Story, failed_at: Timestamp) -> Message {
    let mut letter = message.clone();
    letter.id = letter_id(&message.id, origin);
    letter.timestamp = failed_at;
    letter.metadata.retain(|key, _| !key.starts_with(DEAD_LETTER_META));
    let trace_id = trace_id(&message.metadata);
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            letter.metadata.insert(format!("{DEAD_LETTER_META}{name}"), value);
        }
    };
    put("reason", Some(story.reason.as_str().into()));
    put("attempts", Some(story.attempts.to_string()));
    put("first-error", story.first_error.clone());
    put("last-error", story.last_error.clone());
    match origin.holder {
        Holder::Group(group) => put("group", Some(group.to_string())),
        Holder::Consumer(consumer) => put("consumer", Some(consumer.to_string())),
    }
    put("event", Some(origin.event.to_string()));
    put("cursor", Some(origin.cursor.to_string()));
    put("id", Some(message.id.to_string()));
    put("published-at", Some(message.timestamp.as_millis().to_string()));
    put("first-delivered-at", Some(story.first_delivered_at.as_millis().to_string()));
    put("failed-at", Some(failed_at.as_millis().to_string()));
    put("trace-id", trace_id);
    letter
}

fn letter_id(original: &MessageId, origin: Origin<'_>) -> MessageId {
    let mut hash = Sha256::new();
    for part in [origin.event.as_str(), &origin.holder.to_string(), origin.cursor.as_str()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let text: String = "dlq-".chars().chain(digest.iter().take(16).flat_map(|byte| hex(*byte))).collect();
    MessageId::new(text).unwrap_or_else(|_| original.clone())
}

fn hex(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0'))
}

/// The trace id of a W3C `traceparent` (`00-<trace id>-<span id>-<flags>`).
fn trace_id(metadata: &Metadata) -> Option<String> {
    let id = metadata.get("traceparent")?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupName;

    fn letter(at: i64) -> Message {
        let mut message = Message::new(MessageId::new("m-1").unwrap(), "payload");
        message.key = Some("k".into());
        message.content_type = Some("text/plain".into());
        message.timestamp = Timestamp::from_millis(5);
        let parent = format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16));
        message.metadata =
            [("traceparent".into(), parent), ("busgate-dlq-group".into(), "old".into())].into();
        let story = Story {
            offset: 9,
            reason: Reason::MaxDeliver,
            attempts: 5,
            first_error: Some("first".into()),
            last_error: Some("last".into()),
            first_delivered_at: Timestamp::from_millis(6),
        };
        let event = EventName::new("orders").unwrap();
        let holder = Holder::Consumer(crate::ConsumerName::new("audit").unwrap());
        let cursor = Cursor::new("9").unwrap();
        let origin = Origin { event: &event, holder: &holder, cursor: &cursor };
        dead_letter(&message, origin, &story, Timestamp::from_millis(at))
    }

    #[test]
    fn a_letter_keeps_the_message_and_adds_its_story() {
        let letter = letter(7);
        assert_eq!(&letter.payload[..], b"payload");
        assert_eq!(letter.key.as_deref(), Some("k"));
        assert_eq!(letter.content_type.as_deref(), Some("text/plain"));
        let meta = |name: &str| letter.metadata.get(&format!("busgate-dlq-{name}")).map(String::as_str);
        assert_eq!(meta("reason"), Some("max_deliver"));
        assert_eq!(meta("attempts"), Some("5"));
        assert_eq!(meta("first-error"), Some("first"));
        assert_eq!(meta("last-error"), Some("last"));
        assert_eq!(meta("consumer"), Some("audit"));
        assert_eq!(meta("group"), None, "the story of an earlier death is gone");
        assert_eq!(meta("event"), Some("orders"));
        assert_eq!(meta("cursor"), Some("9"));
        assert_eq!(meta("id"), Some("m-1"));
        assert_eq!(meta("published-at"), Some("5"));
        assert_eq!(meta("first-delivered-at"), Some("6"));
        assert_eq!(meta("failed-at"), Some("7"));
        assert_eq!(meta("trace-id"), Some(&*"a".repeat(32)));
    }

    #[test]
    fn a_letter_written_twice_has_one_id() {
        assert_eq!(letter(7).id, letter(8).id);
    }

    #[test]
    fn letters_of_two_groups_have_two_ids() {
        let event = EventName::new("orders").unwrap();
        let cursor = Cursor::new("9").unwrap();
        let id = MessageId::new("m").unwrap();
        let ids = ["a", "b"].map(|name| {
            let holder = Holder::Group(GroupName::new(name).unwrap());
            letter_id(&id, Origin { event: &event, holder: &holder, cursor: &cursor })
        });
        assert_ne!(ids[0], ids[1]);
    }
}
