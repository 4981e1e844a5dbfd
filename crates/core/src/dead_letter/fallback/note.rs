//! One note: what went wrong in one attempt, as a message.

use super::past::{Past, shortened};
use crate::{ConsumerName, Cursor, GroupName, Holder, LeaseToken, Message, MessageId, Timestamp};

/// The prefixes of what a note's metadata says. The error is the payload, so that native tools show it.
const META: &str = "busgate-story-";

/// Whose attempt at which message: the message's own place, which is the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) holder: Holder,
    pub(super) place: Cursor,
}

impl Subject {
    pub(super) fn of(token: &LeaseToken, place: &Cursor) -> Self {
        Self { holder: token.holder.clone(), place: place.clone() }
    }
}

/// What went wrong in one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) subject: Subject,
    pub(super) attempt: u32,
    pub(super) error: String,
    pub(super) first_delivered_at: Timestamp,
}

impl Note {
    /// As a message that is published `now`.
    pub(super) fn to_message(&self, now: Timestamp) -> Message {
        let mut message = Message::new(MessageId::generate(), shortened(&self.error).to_owned());
        message.timestamp = now;
        message.content_type = Some("text/plain; charset=utf-8".into());
        let (kind, name) = match &self.subject.holder {
            Holder::Group(group) => ("group", group.to_string()),
            Holder::Consumer(consumer) => ("consumer", consumer.to_string()),
        };
        let told = [
            (kind, name),
            ("cursor", self.subject.place.to_string()),
            ("attempt", self.attempt.to_string()),
            ("first-delivered-at", self.first_delivered_at.as_millis().to_string()),
        ];
        message.metadata = told.into_iter().map(|(key, value)| (format!("{META}{key}"), value)).collect();
        message
    }

    /// Reads a message; `None` when it is no note.
    pub(super) fn read(message: &Message) -> Option<Self> {
        let told = |key: &str| message.metadata.get(&format!("{META}{key}")).map(String::as_str);
        let holder = match (told("group"), told("consumer")) {
            (Some(group), None) => Holder::Group(GroupName::new(group).ok()?),
            (None, Some(consumer)) => Holder::Consumer(ConsumerName::new(consumer).ok()?),
            _ => return None,
        };
        Some(Self {
            subject: Subject { holder, place: Cursor::new(told("cursor")?).ok()? },
            attempt: told("attempt")?.parse().ok()?,
            error: std::str::from_utf8(&message.payload).ok()?.to_owned(),
            first_delivered_at: Timestamp::from_millis(told("first-delivered-at")?.parse().ok()?),
        })
    }

    /// What it says of its message.
    pub(super) fn past(&self) -> Past {
        let mut past = Past::since(self.first_delivered_at);
        past.fail(self.attempt, &self.error);
        past
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(holder: Holder) -> Note {
        Note {
            subject: Subject { holder, place: Cursor::new("1-2-3").unwrap() },
            attempt: 3,
            error: "the card was declined: ünd so\nweiter".into(),
            first_delivered_at: Timestamp::from_millis(7),
        }
    }

    #[test]
    fn a_note_reads_back() {
        let group = Holder::Group(GroupName::new("mail").unwrap());
        let consumer = Holder::Consumer(ConsumerName::new("mail").unwrap());
        for note in [note(group), note(consumer)] {
            let message = note.to_message(Timestamp::from_millis(9));
            assert_eq!(message.timestamp, Timestamp::from_millis(9));
            assert_eq!(Note::read(&message), Some(note));
        }
    }

    #[test]
    fn what_somebody_else_wrote_there_is_no_note() {
        let whole = note(Holder::Group(GroupName::default())).to_message(Timestamp::default());
        assert_eq!(Note::read(&Message::new(whole.id.clone(), "x")), None);
        for key in whole.metadata.keys() {
            for value in [None, Some("?? ??")] {
                let mut message = whole.clone();
                message.metadata.remove(key);
                message.metadata.extend(value.map(|value| (key.clone(), value.to_owned())));
                assert_eq!(Note::read(&message), None, "{key} {value:?}");
            }
        }
    }
}
