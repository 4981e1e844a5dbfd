//! Calls of many callers, made as one.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// How many batches are on their way at the same time: while one is being answered the next is on the wire.
const RUNNERS: usize = 2;

/// Something that is done in batches.
pub(crate) trait Job {
    /// How many pieces it is.
    fn pieces(&self) -> usize;
    /// How many bytes it is.
    fn bytes(&self) -> usize;
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
    runners: usize,
}

impl<J> Default for Batches<J> {
    fn default() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), runners: 0 }) }
    }
}

/// The most pieces, and the most bytes, of a batch.
pub(crate) const MOST: (usize, usize) = (512, 1 << 20);

impl<J: Job> Batches<J> {
    /// Adds a job; whether the caller has to start a runner.
    pub(crate) fn add(&self, job: J) -> bool {
        let mut state = self.state.lock();
        state.waiting.push_back(job);
        let start = state.runners < RUNNERS;
        state.runners += usize::from(start);
        start
    }

    /// The next batch; without one the runner ends.
    pub(crate) fn next(&self) -> Option<Vec<J>> {
        let mut state = self.state.lock();
        let (mut pieces, mut bytes) = (0, 0);
        let mut batch = Vec::new();
        while let Some(job) = state.waiting.front() {
            pieces += job.pieces();
            bytes += job.bytes();
            if !batch.is_empty() && (pieces > MOST.0 || bytes > MOST.1) {
                break;
            }
            batch.extend(state.waiting.pop_front());
        }
        if batch.is_empty() {
            state.runners -= 1;
            return None;
        }
        Some(batch)
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
    }

    #[test]
    fn what_waits_goes_together_within_bounds() {
        let batches = Batches::default();
        assert!(batches.add((500, 1)) && batches.add((10, 1)));
        assert!(!batches.add((10, 1)) && !batches.add((1, MOST.1 * 2)) && !batches.add((1, 1)));
        let mut sizes = Vec::new();
        while let Some(batch) = batches.next() {
            sizes.push(batch.len());
        }
        assert_eq!(sizes, [2, 1, 1, 1][..], "{sizes:?}");
        assert!(batches.add((1, 1)), "the runner has ended");
    }
}
