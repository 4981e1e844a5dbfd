//! Who waits for an answer to the same question.
//!
//! What an answer says was true when it was asked, so whoever comes while a question is on its way waits for the next
//! round.

use std::{collections::HashMap, hash::Hash};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Those who wait for the round that comes after the one that runs, by what they ask.
pub(super) struct Rounds<K, W, A>(Mutex<HashMap<K, Vec<Waiting<W, A>>>>);

/// What one of them wants of the answer, and where it goes.
pub(super) type Waiting<W, A> = (W, oneshot::Sender<A>);

impl<K: Clone + Eq + Hash, W, A> Rounds<K, W, A> {
    /// Waits for the next round; whether none runs, so that whoever comes has to see to it.
    pub(super) fn join(&self, question: &K, wants: W) -> (oneshot::Receiver<A>, bool) {
        let (answer, answered) = oneshot::channel();
        let mut rounds = self.0.lock();
        let is_first = !rounds.contains_key(question);
        rounds.entry(question.clone()).or_default().push((wants, answer));
        (answered, is_first)
    }

    /// Begins a round for those who wait by now; `None` when nobody does any more.
    pub(super) fn begin(&self, question: &K) -> Option<Vec<Waiting<W, A>>> {
        let mut rounds = self.0.lock();
        let waiting = rounds.get_mut(question).map(std::mem::take).filter(|waiting| !waiting.is_empty());
        if waiting.is_none() {
            rounds.remove(question);
        }
        waiting
    }
}

impl<K, W, A> Default for Rounds<K, W, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_while_a_question_is_on_its_way_waits_for_the_next() {
        let rounds: Rounds<&str, u16, ()> = Rounds::default();
        let (_first, runs) = rounds.join(&"ends", 1);
        let wants = |waiting: Option<Vec<Waiting<u16, ()>>>| {
            waiting.map(|waiting| waiting.into_iter().map(|(wants, _)| wants).collect::<Vec<_>>())
        };
        assert!(runs);
        assert_eq!(wants(rounds.begin(&"ends")), Some(vec![1]));
        let ((_second, again), (_third, another)) = (rounds.join(&"ends", 2), rounds.join(&"begins", 3));
        assert!(!again && another, "who runs a question goes on with it, and with no other");
        assert_eq!(wants(rounds.begin(&"ends")), Some(vec![2]));
        assert_eq!(wants(rounds.begin(&"ends")), None);
        assert!(rounds.join(&"ends", 4).1, "nobody runs it any more");
    }
}
