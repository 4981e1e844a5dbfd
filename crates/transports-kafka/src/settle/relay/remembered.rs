//! What was answered to whom: a question that is asked again is not settled twice.

use std::collections::{HashMap, VecDeque};

use crate::settle::record::Fates;

/// How many answers are remembered, for those who ask again.
const MAX_REMEMBERED: usize = 4096;

/// What was answered to whom. A question that is asked again gets the same answer, unless it is still being worked on.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    answers: HashMap<(u64, u64), Option<Fates>>,
    order: VecDeque<(u64, u64)>,
}

impl Remembered {
    /// Begins to work on a question: what was answered to it before. `None` while somebody else works on it.
    pub(super) fn begin(&mut self, key: (u64, u64)) -> Option<Fates> {
        match self.answers.insert(key, None) {
            None => {
                self.order.push_back(key);
                if self.order.len() > MAX_REMEMBERED
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.answers.remove(&oldest);
                }
                Some(Fates::new())
            }
            Some(before) => before,
        }
    }

    /// Keeps what was answered, for who asks again.
    pub(super) fn end(&mut self, key: (u64, u64), settled: Fates) {
        if let Some(slot) = self.answers.get_mut(&key) {
            *slot = Some(settled);
        }
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::Settled;

    use super::*;

    #[test]
    fn who_asks_again_gets_the_same_answer() {
        let mut remembered = Remembered::default();
        let answer = vec![(3, Settled::Acked)];
        assert_eq!(remembered.begin((1, 7)), Some(Fates::new()));
        assert_eq!(remembered.begin((1, 7)), None, "it is being worked on");
        remembered.end((1, 7), answer.clone());
        assert_eq!(remembered.begin((1, 7)), Some(answer));
        assert_eq!(remembered.begin((2, 7)), Some(Fates::new()), "another node's call");
    }

    #[test]
    fn the_oldest_answers_are_forgotten() {
        let mut remembered = Remembered::default();
        for call in 0..=MAX_REMEMBERED as u64 {
            assert_eq!(remembered.begin((1, call)), Some(Fates::new()));
            remembered.end((1, call), vec![(0, Settled::Acked)]);
        }
        assert_eq!(remembered.answers.len(), MAX_REMEMBERED);
        assert_eq!(remembered.begin((1, 1)), Some(vec![(0, Settled::Acked)]));
        assert_eq!(remembered.begin((1, 0)), Some(Fates::new()));
    }
}
