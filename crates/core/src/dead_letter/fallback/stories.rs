//! What went wrong with the messages that this node delivered.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use hashbrown::{Equivalent, HashMap, hash_map::EntryRef};
use parking_lot::Mutex;

use super::past::Past;
use crate::{EventName, Holder, LeaseToken, Message, Timestamp};

/// How many unsettled messages it remembers the story of. Beyond, which one is forgotten is left open: keeping them in
/// order would cost every delivery more than the map itself.
const MAX_STORIES: usize = 65_536;

/// A message, as one group sees it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    event: EventName,
    holder: Holder,
    entry: Bytes,
}

/// The same as a token has it: to look for it every delivery would cost three counted references else.
struct Of<'a>(&'a LeaseToken);

impl Hash for Of<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As a place does it.
        let LeaseToken { event, holder, entry, .. } = self.0;
        (event, holder, entry).hash(state);
    }
}

impl Equivalent<Place> for Of<'_> {
    fn equivalent(&self, place: &Place) -> bool {
        let LeaseToken { event, holder, entry, .. } = self.0;
        *entry == place.entry && *event == place.event && *holder == place.holder
    }
}

impl Place {
    fn of(token: &LeaseToken) -> Self {
        Self { event: token.event.clone(), holder: token.holder.clone(), entry: token.entry.clone() }
    }
}

/// What this node knows of a message that it delivered.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) message: Arc<Message>,
    pub(super) past: Past,
}

/// The stories of what is unsettled.
#[derive(Debug, Default)]
pub(super) struct Stories(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    known: HashMap<Place, (u64, Known)>,
}

impl Stories {
    /// A message goes out; answers when this node first delivered it.
    pub(super) fn deliver(&self, token: &LeaseToken, message: &Arc<Message>, now: Timestamp) -> Timestamp {
        let mut kept = self.0.lock();
        match kept.known.entry_ref(&Of(token)) {
            EntryRef::Occupied(entry) => {
                let (epoch, known) = entry.into_mut();
                *epoch = token.epoch;
                known.past.first_delivered_at
            }
            EntryRef::Vacant(entry) => {
                let known = Known { message: Arc::clone(message), past: Past::since(now) };
                entry.insert_with_key(Place::of(token), (token.epoch, known));
                kept.bound(token);
                now
            }
        }
    }

    /// What is known of the delivery that `token` is of, with one more error.
    pub(super) fn fail(&self, token: &LeaseToken, attempt: u32, error: &str) -> Option<Known> {
        let mut kept = self.0.lock();
        let (_, known) = kept.known.get_mut(&Of(token)).filter(|(epoch, _)| *epoch == token.epoch)?;
        known.past.fail(attempt, error);
        Some(known.clone())
    }

    /// Whether the message was delivered here again since `token`.
    pub(super) fn is_stale(&self, token: &LeaseToken) -> bool {
        self.0.lock().known.get(&Of(token)).is_some_and(|(epoch, _)| *epoch != token.epoch)
    }

    /// What is known of the message.
    pub(super) fn of(&self, token: &LeaseToken) -> Option<Known> {
        self.0.lock().known.get(&Of(token)).map(|(_, known)| known.clone())
    }

    /// The story ends.
    pub(super) fn end(&self, token: &LeaseToken) {
        // Let go of when the lock is free: it may be the last that holds the message.
        let ended = self.0.lock().known.remove(&Of(token));
        drop(ended);
    }
}

impl Kept {
    /// Forgets another story than that of `newest` where there are too many.
    fn bound(&mut self, newest: &LeaseToken) {
        if self.known.len() > MAX_STORIES {
            let mut others = self.known.extract_if(|place, _| !Of(newest).equivalent(place));
            drop(others.next());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupName, MessageId};

    fn token(number: usize) -> LeaseToken {
        let (event, holder) = (EventName::new("orders").unwrap(), Holder::Group(GroupName::default()));
        LeaseToken { event, holder, entry: number.to_string().into(), epoch: 1 }
    }

    #[test]
    fn they_are_bounded_and_the_newest_is_among_them() {
        let stories = Stories::default();
        let message = Arc::new(Message::new(MessageId::generate(), ""));
        for number in 0..MAX_STORIES + 100 {
            stories.deliver(&token(number), &message, Timestamp::default());
            assert!(stories.of(&token(number)).is_some(), "{number}");
        }
        assert_eq!(stories.0.lock().known.len(), MAX_STORIES);
    }

    #[test]
    fn a_story_that_ended_is_not_kept() {
        let stories = Stories::default();
        let message = Arc::new(Message::new(MessageId::generate(), ""));
        stories.deliver(&token(1), &message, Timestamp::default());
        stories.end(&token(1));
        assert!(stories.0.lock().known.is_empty());
    }
}
