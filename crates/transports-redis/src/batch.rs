//! Calls of many callers, made as one, and several such on their way at once.

use std::{
    collections::VecDeque,
    future::ready,
    iter::Sum,
    ops::{Add, Sub},
};

use busgate_core::Result;
use futures_util::{StreamExt, future::Either, poll, stream::FuturesOrdered};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error;

/// How many batches are on their way at the same time: while the server does one the next is on the wire, and those who
/// waited for the one before it are told. More than two only when there is so much that batches are as large as they get.
const LANES: usize = 4;

/// How many pieces, or bytes, are worth another batch beside one that is on its way; fewer wait for its answer, and for each
/// other.
const WORTH: Load = Load { pieces: 64, bytes: 1 << 16 };

/// The most pieces, and the most bytes, of a batch.
pub(crate) const MOST: Load = Load { pieces: 512, bytes: 1 << 20 };

/// How many jobs may wait.
const MOST_WAITING: usize = 65_536;

/// How much there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) pieces: usize,
    pub(crate) bytes: usize,
}

impl Load {
    /// Whether it is more than that, in pieces or in bytes.
    pub(crate) const fn exceeds(self, most: Self) -> bool {
        self.pieces > most.pieces || self.bytes > most.bytes
    }

    /// Whether it is at least that, in pieces or in bytes.
    const fn reaches(self, least: Self) -> bool {
        self.pieces >= least.pieces || self.bytes >= least.bytes
    }

    /// What a batch can be that comes nearest to it.
    fn as_batch(self) -> Self {
        Self {
            pieces: self.pieces.clamp(WORTH.pieces, MOST.pieces),
            bytes: self.bytes.clamp(WORTH.bytes, MOST.bytes),
        }
    }

    const fn half(self) -> Self {
        Self { pieces: self.pieces.div_ceil(2), bytes: self.bytes.div_ceil(2) }
    }
}

impl Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { pieces: self.pieces + other.pieces, bytes: self.bytes + other.bytes }
    }
}

impl Sub for Load {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            pieces: self.pieces.saturating_sub(other.pieces),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Sum for Load {
    fn sum<I: Iterator<Item = Self>>(loads: I) -> Self {
        loads.fold(Self::default(), Self::add)
    }
}

/// Something that is done in batches.
pub(crate) trait Job {
    /// How much it is.
    fn load(&self) -> Load;
    /// Whether somebody still waits for it.
    fn is_awaited(&self) -> bool;
}

/// Who does batches of jobs.
pub(crate) trait Hand<J>: Sync {
    /// What a batch can go out on.
    type Line: Send;
    /// What comes of a batch.
    type Answer: Send;

    /// What a batch can go out on right now, in its turn.
    fn line(&self) -> Option<Self::Line>;

    /// Has the batch done. With a line it is on its way once it was polled; without, it waits for one first.
    fn send(&self, batch: Vec<J>, line: Option<Self::Line>) -> impl Future<Output = Self::Answer> + Send;

    /// Does what follows from it: one after the other, in the order of the batches.
    fn finish(&self, answer: Self::Answer) -> impl Future<Output = ()> + Send;
}

/// What waits to be done. Whoever adds the first job drives, until nothing waits: alone, a job goes at once; beside others,
/// it goes with those that came while the earlier ones were on their way.
#[derive(Debug)]
pub(crate) struct Batches<J> {
    state: Mutex<State<J>>,
    /// There is enough for another batch.
    enough: Notify,
}

#[derive(Debug)]
struct State<J> {
    waiting: VecDeque<J>,
    /// How much that is.
    pending: Load,
    /// How much is on its way.
    under_way: Load,
    driven: bool,
}

impl<J> Default for Batches<J> {
    fn default() -> Self {
        let (pending, under_way) = (Load::default(), Load::default());
        let state = State { waiting: VecDeque::new(), pending, under_way, driven: false };
        Self { state: Mutex::new(state), enough: Notify::new() }
    }
}

impl<J: Job> Batches<J> {
    /// Adds a job; whether the caller has to see that it is driven.
    ///
    /// # Errors
    /// `exhausted` when too many wait.
    pub(crate) fn add(&self, job: J) -> Result<bool> {
        let mut state = self.state.lock();
        if state.waiting.len() >= MOST_WAITING {
            return Err(error::busy());
        }
        let enough = state.is_worth_it();
        state.pending = state.pending + job.load();
        state.waiting.push_back(job);
        if state.driven {
            let enough = !enough && state.is_worth_it();
            drop(state);
            if enough {
                self.enough.notify_one();
            }
            return Ok(false);
        }
        state.driven = true;
        Ok(true)
    }

    /// Has batches done until nothing waits, some beside each other.
    ///
    /// Invariant: batches are begun in the order of their jobs, and finished in that order
    /// (`batches_are_begun_and_finished_in_order`). Nothing goes beside one that has to wait for a line.
    pub(crate) async fn drive(&self, hand: &impl Hand<J>) {
        let mut under_way = FuturesOrdered::new();
        let mut full = false;
        loop {
            while !full && under_way.len() < LANES {
                let line = hand.line();
                full = line.is_none();
                if full && !under_way.is_empty() {
                    break;
                }
                let Some(batch) = self.next() else { break };
                let load: Load = batch.iter().map(Job::load).sum();
                let mut call = Box::pin(async move { (hand.send(batch, line).await, load) });
                under_way.push_back(match poll!(&mut call) {
                    std::task::Poll::Ready(done) => Either::Left(ready(done)),
                    std::task::Poll::Pending => Either::Right(call),
                });
            }
            if under_way.is_empty() {
                return;
            }
            tokio::select! {
                Some((done, load)) = under_way.next() => {
                    hand.finish(done).await;
                    let mut state = self.state.lock();
                    state.under_way = state.under_way - load;
                    full = false;
                }
                () = self.enough.notified() => {}
            }
        }
    }

    /// The next batch, without what was given up; alone it need not be worth it, and without one nobody drives any more.
    fn next(&self) -> Option<Vec<J>> {
        let mut state = self.state.lock();
        let alone = state.is_idle();
        let batch = if alone || state.is_worth_it() { state.take() } else { Vec::new() };
        if batch.is_empty() {
            state.driven = !alone;
            return None;
        }
        Some(batch)
    }
}

impl<J: Job> State<J> {
    /// Whether nothing is on its way.
    fn is_idle(&self) -> bool {
        self.under_way.pieces == 0
    }

    /// Each batch costs the server something, syncing above all: one that goes beside others is no smaller than they
    /// together, or as large as batches get.
    fn is_worth_it(&self) -> bool {
        self.pending.reaches(self.under_way.as_batch())
    }

    /// What waits, or, when nothing is on its way, half of it, if that is worth a batch: while the server does one half, the
    /// other is on the wire, and neither waits for all.
    fn take(&mut self) -> Vec<J> {
        let most = if self.is_idle() { self.pending.half() } else { self.pending }.as_batch();
        let (mut taken, mut batch) = (Load::default(), Vec::new());
        while let Some(job) = self.waiting.front() {
            let load = job.load();
            let is_awaited = job.is_awaited();
            if is_awaited {
                if !batch.is_empty() && (taken + load).exceeds(most) {
                    break;
                }
                taken = taken + load;
            }
            self.pending = self.pending - load;
            batch.extend(self.waiting.pop_front().filter(|_| is_awaited));
        }
        self.under_way = self.under_way + taken;
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    impl Job for (usize, usize) {
        fn load(&self) -> Load {
            Load { pieces: self.0, bytes: self.1 }
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
        let next = || batches.next().map_or(0, |batch| batch.len());
        let done = |pieces| batches.state.lock().under_way.pieces -= pieces;
        assert!(batches.add((1, 1)).unwrap());
        assert_eq!(next(), 1);
        for _ in 1..WORTH.pieces {
            assert!(!batches.add((1, 1)).unwrap(), "somebody drives");
        }
        assert_eq!(next(), 0, "less is not worth a batch");
        batches.add((1, 1)).unwrap();
        assert_eq!(next(), WORTH.pieces, "as much is");
        batches.add((3 * WORTH.pieces, 1)).unwrap();
        assert_eq!(next(), 1);
        batches.add((4 * WORTH.pieces, 1)).unwrap();
        assert_eq!(next(), 0, "it would be smaller than those together");
        batches.add((1, WORTH.bytes)).unwrap();
        assert_eq!(next(), 2, "so many bytes are worth one too");
        done(8 * WORTH.pieces + 2);
        assert!(!batches.add((1, 1)).unwrap(), "somebody drives still");
        assert_eq!(next(), 1);
        done(1);
        assert_eq!(next(), 0);
        assert!(batches.add((1, 1)).unwrap(), "nobody drives any more");
    }

    #[test]
    fn what_waits_goes_together_within_bounds() {
        let batches = Batches::default();
        let jobs = [(500, 1), (10, 1), (0, 1), (10, 1), (1, MOST.bytes * 2), (1, 1)];
        for job in jobs {
            batches.add(job).unwrap();
        }
        batches.state.lock().under_way.pieces = 1;
        let sizes: Vec<_> = (0..4).map(|_| batches.next().map_or(0, |batch| batch.len())).collect();
        assert_eq!(sizes, [2, 1, 1, 0]);
    }

    #[test]
    fn a_crowd_goes_in_halves() {
        for (count, job) in [(4 * WORTH.pieces, (1, 1)), (8, (1, WORTH.bytes))] {
            let batches = Batches::default();
            for _ in 0..count {
                batches.add(job).unwrap();
            }
            let next = || batches.next().map_or(0, |batch| batch.len());
            assert_eq!([next(), next()], [count / 2; 2]);
            for _ in 1..count {
                batches.add(job).unwrap();
            }
            assert_eq!(next(), 0, "it would be smaller than those together");
        }
    }

    /// Notes what is begun and finished; a batch is done as soon as its first job may be.
    struct Scribe {
        notes: Mutex<Vec<String>>,
        doors: Vec<Notify>,
        has_line: AtomicBool,
    }

    impl Scribe {
        fn new(doors: usize, has_line: bool) -> Self {
            let doors = (0..doors).map(|_| Notify::new()).collect();
            Self { notes: Mutex::default(), doors, has_line: has_line.into() }
        }

        fn note(&self, what: &str, batch: &[(usize, usize)]) {
            self.notes.lock().push(format!("{what} {}", batch[0].1));
        }
    }

    impl Hand<(usize, usize)> for Scribe {
        type Line = ();
        type Answer = Vec<(usize, usize)>;

        fn line(&self) -> Option<()> {
            self.has_line.load(Relaxed).then_some(())
        }

        async fn send(&self, batch: Vec<(usize, usize)>, _: Option<()>) -> Self::Answer {
            self.note("begun", &batch);
            self.doors[batch[0].1].notified().await;
            batch
        }

        async fn finish(&self, batch: Self::Answer) {
            self.note("finished", &batch);
        }
    }

    /// What is noted of four batches whose answers come from the last to the first.
    async fn noted(has_line: bool) -> Vec<String> {
        let scribe = Scribe::new(4, has_line);
        let batches = Batches::default();
        for nth in 0..4 {
            batches.add((MOST.pieces, nth)).unwrap();
        }
        let mut driving = std::pin::pin!(batches.drive(&scribe));
        for nth in (0..4).rev() {
            assert!(poll!(&mut driving).is_pending());
            scribe.doors[nth].notify_one();
        }
        driving.await;
        std::mem::take(&mut *scribe.notes.lock())
    }

    #[tokio::test]
    async fn batches_are_begun_and_finished_in_order() {
        let begun = (0..4).map(|nth| format!("begun {nth}"));
        let finished = (0..4).map(|nth| format!("finished {nth}"));
        assert_eq!(noted(true).await, begun.chain(finished).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nothing_goes_beside_what_waits_for_a_line() {
        let expected = (0..4).flat_map(|nth| [format!("begun {nth}"), format!("finished {nth}")]);
        assert_eq!(noted(false).await, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nothing_without_a_line_goes_beside_what_is_on_its_way() {
        let scribe = Scribe::new(2, true);
        let batches = Batches::default();
        batches.add((1, 0)).unwrap();
        let mut driving = std::pin::pin!(batches.drive(&scribe));
        assert!(poll!(&mut driving).is_pending());
        scribe.has_line.store(false, Relaxed);
        batches.add((MOST.pieces, 1)).unwrap();
        assert!(poll!(&mut driving).is_pending());
        assert_eq!(*scribe.notes.lock(), ["begun 0"]);
        scribe.doors.iter().for_each(Notify::notify_one);
        driving.await;
        assert_eq!(*scribe.notes.lock(), ["begun 0", "finished 0", "begun 1", "finished 1"]);
    }

    #[tokio::test]
    async fn what_comes_meanwhile_goes_beside_once_it_is_enough() {
        let scribe = Scribe::new(2, true);
        let batches = Batches::default();
        batches.add((1, 0)).unwrap();
        let mut driving = std::pin::pin!(batches.drive(&scribe));
        assert!(poll!(&mut driving).is_pending());
        batches.add((WORTH.pieces - 1, 1)).unwrap();
        assert!(poll!(&mut driving).is_pending());
        assert_eq!(*scribe.notes.lock(), ["begun 0"]);
        batches.add((1, 1)).unwrap();
        assert!(poll!(&mut driving).is_pending());
        assert_eq!(*scribe.notes.lock(), ["begun 0", "begun 1"]);
        scribe.doors.iter().for_each(Notify::notify_one);
        driving.await;
    }
}
