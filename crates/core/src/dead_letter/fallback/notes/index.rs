//! The notes that were read, by message, and how far they were read.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    super::{
        note::{Note, Subject},
        past::Past,
    },
    MAX_NOTES,
};
use crate::{Cursor, EventName, Start, Timestamp};

/// Of how many messages the notes are remembered: of as many as one event has notes.
const MAX_SUBJECTS: usize = MAX_NOTES as usize;

/// Of how many events it is remembered how far their notes were read.
const MAX_BOOKMARKS: usize = 1024;

/// By how much clocks may differ: of those that stamp messages and those that stamp notes.
const SKEW: Duration = Duration::from_secs(600);

/// The notes that were read.
#[derive(Debug)]
pub(super) struct Index(Mutex<Kept>);

type Key = (EventName, Subject);

#[derive(Debug, Default)]
struct Kept {
    past: HashMap<Key, (u64, Past)>,
    /// Oldest first; each under a number of its own, which tells it from a later one of the same message.
    order: VecDeque<(u64, Key)>,
    number: u64,
    most: usize,
    bookmarks: HashMap<EventName, Arc<tokio::sync::Mutex<Bookmark>>>,
}

impl Default for Index {
    fn default() -> Self {
        Self::of_at_most(MAX_SUBJECTS)
    }
}

impl Index {
    fn of_at_most(most: usize) -> Self {
        Self(Mutex::new(Kept { most, ..Kept::default() }))
    }

    pub(super) fn past(&self, event: &EventName, subject: &Subject) -> Option<Past> {
        self.0.lock().past.get(&(event.clone(), subject.clone())).map(|(_, past)| past.clone())
    }

    pub(super) fn add(&self, event: &EventName, note: Note) {
        let mut kept = self.0.lock();
        let past = note.past();
        let key = (event.clone(), note.subject);
        if let Some((_, known)) = kept.past.get_mut(&key) {
            known.join(&past);
            return;
        }
        kept.number += 1;
        let number = kept.number;
        kept.order.push_back((number, key.clone()));
        kept.past.insert(key, (number, past));
        kept.bound();
    }

    /// Lets go of a message. Most are acked while there is not one note.
    pub(super) fn remove(&self, event: &EventName, subject: impl FnOnce() -> Subject) {
        let mut kept = self.0.lock();
        if !kept.past.is_empty() {
            kept.past.remove(&(event.clone(), subject()));
        }
    }

    pub(super) fn bookmark(&self, event: &EventName) -> Arc<tokio::sync::Mutex<Bookmark>> {
        let mut kept = self.0.lock();
        if kept.bookmarks.len() >= MAX_BOOKMARKS && !kept.bookmarks.contains_key(event) {
            // They are read again from their beginning, as after a start.
            kept.bookmarks.clear();
        }
        Arc::clone(kept.bookmarks.entry(event.clone()).or_default())
    }

    pub(super) fn forget(&self, event: &EventName) {
        let mut kept = self.0.lock();
        kept.bookmarks.remove(event);
        kept.past.retain(|(of, _), _| of != event);
    }
}

impl Kept {
    fn bound(&mut self) {
        while self.past.len() > self.most {
            let Some((number, key)) = self.order.pop_front() else { break };
            if self.past.get(&key).is_some_and(|(known, _)| *known == number) {
                self.past.remove(&key);
            }
        }
        if self.order.len() > 2 * self.most {
            let past = &self.past;
            self.order.retain(|(number, key)| past.get(key).is_some_and(|(known, _)| known == number));
        }
    }
}

/// How far the notes of one event were read.
#[derive(Debug, Default)]
pub(super) struct Bookmark {
    next: Option<Cursor>,
    /// From which time on they were read; from the beginning where there is none.
    since: Option<Timestamp>,
}

impl Bookmark {
    /// Makes sure that the notes of a message that was `published` then are among those that were read or come next.
    pub(super) fn open(&mut self, published: Timestamp, can_seek: bool) {
        let from = published.minus(SKEW);
        match (&self.next, self.since) {
            (None, _) => self.since = can_seek.then_some(from),
            // Once from the beginning is enough for all that are older still.
            (Some(_), Some(since)) if from < since => self.begin(),
            _ => {}
        }
    }

    /// Starts over at the beginning.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    pub(super) fn start(&self) -> Start {
        match (&self.next, self.since) {
            (Some(next), _) => Start::After(next.clone()),
            (None, Some(since)) => Start::At(since),
            (None, None) => Start::Beginning,
        }
    }

    pub(super) fn advance(&mut self, next: Cursor) {
        self.next = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Holder;

    fn place(text: &str) -> Cursor {
        Cursor::new(text).unwrap()
    }

    fn note(place_of: &str, attempt: u32) -> Note {
        Note {
            subject: Subject { holder: Holder::Group(crate::GroupName::default()), place: place(place_of) },
            attempt,
            error: format!("failure {attempt}"),
            first_delivered_at: Timestamp::from_millis(attempt.into()),
        }
    }

    fn event() -> EventName {
        EventName::new("orders").unwrap()
    }

    #[test]
    fn notes_of_one_message_become_one_past() {
        let index = Index::default();
        for attempt in [2, 1, 3] {
            index.add(&event(), note("a", attempt));
        }
        index.add(&event(), note("b", 7));
        let past = index.past(&event(), &note("a", 0).subject).unwrap();
        assert_eq!((past.first_error(), past.last_error()), (Some("failure 1"), Some("failure 3")));
        assert_eq!(index.past(&EventName::new("other").unwrap(), &note("a", 0).subject), None);
        index.forget(&event());
        assert_eq!(index.past(&event(), &note("a", 0).subject), None);
    }

    #[test]
    fn no_more_is_remembered_than_is_bounded() {
        let index = Index::of_at_most(10);
        for number in 0..=10 {
            index.add(&event(), note(&number.to_string(), 1));
        }
        assert_eq!(index.0.lock().past.len(), 10);
        assert_eq!(index.past(&event(), &note("0", 0).subject), None, "the oldest goes");
        for _ in 0..100 {
            index.add(&event(), note("x", 1));
            index.remove(&event(), || note("x", 0).subject);
            index.add(&event(), note("x", 1));
            assert!(index.0.lock().order.len() <= 20, "what ended is let go of");
        }
    }

    #[test]
    fn reading_goes_on_where_it_was_and_back_to_the_beginning_once() {
        let minute = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let mut bookmark = Bookmark::default();
        bookmark.open(minute(100), true);
        assert_eq!(bookmark.start(), Start::At(minute(90)));
        bookmark.advance(place("n1"));
        bookmark.open(minute(101), true);
        assert_eq!(bookmark.start(), Start::After(place("n1")));
        bookmark.open(minute(99), true);
        assert_eq!(bookmark.start(), Start::Beginning);
        bookmark.advance(place("n2"));
        bookmark.open(minute(1), true);
        assert_eq!(bookmark.start(), Start::After(place("n2")));
    }

    #[test]
    fn where_no_time_can_be_found_reading_starts_at_the_beginning() {
        let mut bookmark = Bookmark::default();
        bookmark.open(Timestamp::from_millis(1 << 40), false);
        assert_eq!(bookmark.start(), Start::Beginning);
    }
}
