//! One event in one life of its stream, and why it ended.

use busgate_core::{EventInfo, EventName, Position, Result};
use tokio::sync::watch;

use crate::{api::StreamInfo, name, registration::Registration};

/// Why the subscriptions of an event end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was unregistered.
    Unregistered,
    /// The transport was closed.
    Closed,
}

/// One event, in one life.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: EventName,
    pub(crate) stream: String,
    pub(crate) subject: String,
    /// Whether the stream holds nothing else, so that a hole in its sequences is one of the event.
    pub(crate) is_whole: bool,
    /// Another for each stream that is made under this name.
    pub(crate) life: u64,
    /// Whether ids go by the server's window.
    pub(crate) is_deduplicated: bool,
    /// What it was registered with, where it was registered here.
    pub(crate) registration: Option<Registration>,
    end: watch::Sender<Option<End>>,
}

impl Event {
    pub(crate) fn new(name: EventName, subject: String, info: &StreamInfo) -> Self {
        let registration = Registration::read(&info.config.description).filter(|it| it.event == name);
        let is_deduplicated = registration.as_ref().is_none_or(|it| it.is_deduplicated);
        Self {
            is_whole: info.config.subjects == [subject.as_str()],
            life: name::number(&info.created),
            stream: info.config.name.clone(),
            name,
            subject,
            is_deduplicated,
            registration,
            end: watch::Sender::new(None),
        }
    }

    /// The place before the message at `next`.
    pub(crate) fn before(&self, next: u64) -> Position {
        Position::before(self.life, &self.name, next)
    }

    /// Why it ended, if it did.
    pub(crate) fn ended(&self) -> Option<End> {
        *self.end.borrow()
    }

    /// Changes when it ends.
    pub(crate) fn ending(&self) -> watch::Receiver<Option<End>> {
        self.end.subscribe()
    }

    /// Ends it. The first reason stands.
    pub(crate) fn finish(&self, end: End) {
        self.end.send_if_modified(|now| {
            let first = now.is_none();
            now.get_or_insert(end);
            first
        });
    }

    /// As it is listed, when its stream is like this.
    pub(crate) fn info(&self, info: &StreamInfo) -> Result<EventInfo> {
        let (state, whole) = (&info.state, self.is_whole);
        let held = whole && state.messages > 0;
        let place = |sequence: u64| self.before(sequence.saturating_add(1)).to_cursor();
        Ok(EventInfo {
            name: self.name.clone(),
            config: self.registration.as_ref().map(|it| it.config.clone()).unwrap_or_default(),
            messages: whole.then_some(state.messages),
            bytes: whole.then_some(state.bytes),
            oldest: held.then(|| place(state.first_seq)).transpose()?,
            newest: held.then(|| place(state.last_seq)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream with these subjects, which holds two messages.
    fn stream(subjects: &[&str]) -> StreamInfo {
        let info = serde_json::json!({
            "config": {
                "name": "orders", "subjects": subjects, "storage": "file", "num_replicas": 1,
                "retention": "limits", "discard": "old", "max_consumers": -1, "max_msgs": -1,
                "max_bytes": -1, "max_age": 0,
            },
            "created": "2026-01-01T00:00:00Z",
            "state": { "messages": 2, "bytes": 20, "first_seq": 3, "last_seq": 4 },
        });
        serde_json::from_value(info).unwrap()
    }

    fn event(subjects: &[&str]) -> Event {
        Event::new(EventName::new("orders").unwrap(), "orders".into(), &stream(subjects))
    }

    #[test]
    fn the_first_end_stands() {
        let event = event(&["orders"]);
        assert_eq!(event.ended(), None);
        event.finish(End::Unregistered);
        event.finish(End::Closed);
        assert_eq!(event.ended(), Some(End::Unregistered));
    }

    #[test]
    fn only_a_whole_stream_tells_what_its_event_holds() {
        let subjects: [(&[&str], _); 3] =
            [(&["orders"], Some(2)), (&["orders", "bills"], None), (&["o*"], None)];
        for (subjects, wanted) in subjects {
            let info = event(subjects).info(&stream(subjects)).unwrap();
            assert_eq!(info.messages, wanted, "{subjects:?}");
            assert_eq!((info.oldest.is_some(), info.newest.is_some()), (wanted.is_some(), wanted.is_some()));
        }
    }
}
