//! What went wrong with the messages that this node delivered.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::past::Past;
use crate::{EventName, Holder, LeaseToken, Message, Timestamp};

/// How many unsettled messages it remembers the story of.
const MAX_STORIES: usize = 65_536;

/// How many stories that ended stay in the order at least.
const SLACK: usize = 256;

/// A message, as one group sees it.
type Place = (EventName, Holder, Bytes);

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
    order: VecDeque<Place>,
}

impl Stories {
    /// A message goes out; answers when this node first delivered it.
    pub(super) fn deliver(&self, token: &LeaseToken, message: &Arc<Message>, now: Timestamp) -> Timestamp {
        let mut kept = self.0.lock();
        let place = place(token);
        if let Some((epoch, known)) = kept.known.get_mut(&place) {
            *epoch = token.epoch;
            return known.past.first_delivered_at;
        }
        let known = Known { message: Arc::clone(message), past: Past::since(now) };
        kept.order.push_back(place.clone());
        kept.known.insert(place, (token.epoch, known));
        kept.bound();
        now
    }

    /// What is known of the delivery that `token` is of, with one more error.
    pub(super) fn fail(&self, token: &LeaseToken, attempt: u32, error: &str) -> Option<Known> {
        let mut kept = self.0.lock();
        let (_, known) = kept.known.get_mut(&place(token)).filter(|(epoch, _)| *epoch == token.epoch)?;
        known.past.fail(attempt, error);
        Some(known.clone())
    }

    /// Whether the message was delivered here again since `token`.
    pub(super) fn is_stale(&self, token: &LeaseToken) -> bool {
        self.0.lock().known.get(&place(token)).is_some_and(|(epoch, _)| *epoch != token.epoch)
    }

    /// What is known of the message.
    pub(super) fn of(&self, token: &LeaseToken) -> Option<Known> {
        self.0.lock().known.get(&place(token)).map(|(_, known)| known.clone())
    }

    /// The story ends.
    pub(super) fn end(&self, token: &LeaseToken) {
        self.0.lock().known.remove(&place(token));
    }
}

impl Kept {
    fn bound(&mut self) {
        while self.known.len() > MAX_STORIES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.known.remove(&oldest);
        }
        // Most stories end soon: what is left of them would fill the caches, and more.
        if self.order.len() > 2 * self.known.len() + SLACK {
            self.order.retain(|place| self.known.contains_key(place));
        }
    }
}

fn place(token: &LeaseToken) -> Place {
    (token.event.clone(), token.holder.clone(), token.entry.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupName, MessageId};

    #[test]
    fn stories_that_ended_are_not_kept() {
        let stories = Stories::default();
        let message = Arc::new(Message::new(MessageId::new("m").unwrap(), "body"));
        let token = |nth: u32| LeaseToken {
            event: EventName::new("orders").unwrap(),
            holder: Holder::Group(GroupName::new("g").unwrap()),
            entry: Bytes::copy_from_slice(&nth.to_be_bytes()),
            epoch: 1,
        };
        let deliver = |nth| stories.deliver(&token(nth), &message, Timestamp::from_millis(7));
        deliver(0);
        for nth in 1..5000 {
            deliver(nth);
            stories.end(&token(nth));
            let order = stories.0.lock().order.len();
            assert!(order <= 2 * 2 + SLACK, "{order} are in the order");
        }
        assert!(stories.of(&token(0)).is_some(), "the one that goes on is known");
    }
}
