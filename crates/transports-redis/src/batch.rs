//! Calls of many callers, made as one.

use std::collections::VecDeque;

use busgate_core::Result;
use parking_lot::Mutex;

use crate::error;

/// How many batches are on their way at the same time: while one is being answered the next is on the wire.
const RUNNERS: usize = 2;

/// How many pieces, or bytes, are worth another batch beside one that is on its way; fewer wait for its answer, and for each
/// other.
const WORTH: (usize, usize) = (64, 1 << 16);

/// Something that is done in batches.
pub(crate) trait Job {
    /// How many pieces it is.
    fn pieces(&self) -> usize;
    /// How many bytes it is.
    fn bytes(&self) -> usize;
    /// Whether somebody still waits for it.
    fn is_awaited(&self) -> bool;
}

/// What waits to be done. Whoever adds the first job starts a runner, which takes batches until none waits: alone, a job
/// goes at once; beside others, it goes with those that came while the earlier ones were on their way.
#[derive(Debug)]
pub(crate) struct Batches<J> {
    state: Mutex<State<J>>,
}

#[derive(Debug)]
struct State<J> {
    waiting: VecDeque<J>,
    /// How many pieces and bytes they are.
    pieces: usize,
    bytes: usize,
    runners: usize,
}

impl<J> Default for Batches<J> {
    fn default() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), pieces: 0, bytes: 0, runners: 0 }) }
    }
}

/// How many jobs may wait.
const MOST_WAITING: usize = 65_536;

/// The most pieces, and the most bytes, of a batch.
pub(crate) const MOST: (usize, usize) = (512, 1 << 20);

impl<J: Job> Batches<J> {
    /// Adds a job; whether the caller has to start a runner.
    ///
    /// # Errors
    /// `exhausted` when too many wait.
    pub(crate) fn add(&self, job: J) -> Result<bool> {
        let mut state = self.state.lock();
        if state.waiting.len() >= MOST_WAITING {
            return Err(error::busy());
        }
        state.pieces += job.pieces();
        state.bytes += job.bytes();
        state.waiting.push_back(job);
        let start = state.runners == 0 || state.runners < RUNNERS && state.is_worth_it();
        state.runners += usize::from(start);
        Ok(start)
    }

    /// The next batch, without what was given up; without one the runner ends.
    pub(crate) fn next(&self) -> Option<Vec<J>> {
        let mut state = self.state.lock();
        let alone = state.runners == 1;
        let batch = if alone || state.is_worth_it() { state.take() } else { Vec::new() };
        if batch.is_empty() {
            state.runners -= 1;
            return None;
        }
        Some(batch)
    }
}

impl<J: Job> State<J> {
    const fn is_worth_it(&self) -> bool {
        self.pieces >= WORTH.0 || self.bytes >= WORTH.1
    }

    fn take(&mut self) -> Vec<J> {
        let (mut pieces, mut bytes) = (0, 0);
        let mut batch = Vec::new();
        while let Some(job) = self.waiting.front() {
            let is_awaited = job.is_awaited();
            if is_awaited {
                pieces += job.pieces();
                bytes += job.bytes();
                if !batch.is_empty() && (pieces > MOST.0 || bytes > MOST.1) {
                    break;
                }
            }
            self.pieces = self.pieces.saturating_sub(job.pieces());
            self.bytes = self.bytes.saturating_sub(job.bytes());
            batch.extend(self.waiting.pop_front().filter(|_| is_awaited));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Job for (usize, usize) {
        fn pieces(&self) -> usize {
            self.0
        }

        fn bytes(&self) -> usize {
            self.1
        }

        fn is_awaited(&self) -> bool {
            self.0 > 0
        }
    }

    #[test]
    fn no_more_wait_than_may() {
        let batches = Batches::default();
        for _ in 0..MOST_WAITING {
            batches.add((1, 1)).unwrap();
        }
        assert_eq!(batches.add((1, 1)).unwrap_err().kind(), busgate_core::ErrorKind::Exhausted);
    }

    #[test]
    fn little_waits_for_the_batch_that_is_on_its_way() {
        let batches = Batches::default();
        assert!(batches.add((1, 1)).unwrap());
        assert_eq!(batches.next().unwrap().len(), 1);
        for _ in 1..WORTH.0 {
            assert!(!batches.add((1, 1)).unwrap(), "less is not worth a batch");
        }
        assert!(batches.add((1, 1)).unwrap(), "as much is");
        assert_eq!(batches.next().unwrap().len(), WORTH.0);
        assert!(!batches.add((1, WORTH.1 - 1)).unwrap());
        assert!(batches.next().is_none(), "one runner goes on");
        assert!(batches.add((1, 1)).unwrap(), "so many bytes are worth one too");
        assert_eq!(batches.next().unwrap().len(), 2);
        assert!(batches.next().is_none());
        assert!(batches.next().is_none());
        assert!(batches.add((1, 1)).unwrap(), "the last one has ended");
    }

    #[test]
    fn what_waits_goes_together_within_bounds() {
        let batches = Batches::default();
        let started = [(500, 1), (10, 1), (0, 1), (10, 1), (1, MOST.1 * 2), (1, 1)]
            .map(|job| batches.add(job).unwrap());
        assert_eq!(started, [true, true, false, false, false, false]);
        // Two runners, and each ends once.
        let sizes: Vec<_> = (0..6).map(|_| batches.next().map_or(0, |batch| batch.len())).collect();
        assert_eq!(sizes, [2, 1, 1, 0, 1, 0][..], "{sizes:?}");
        assert!(batches.add((1, 1)).unwrap(), "the runner has ended");
    }
}
