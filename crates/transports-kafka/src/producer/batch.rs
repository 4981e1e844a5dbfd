//! The answers to records that were sent together.

use std::{fmt, sync::Arc};

use busgate_core::Result;
use parking_lot::Mutex;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use crate::{error, place::Place};

/// What became of each record, in their order.
pub(crate) type Answers = Vec<Result<Place>>;

/// What is told of the answers first, whether or not anybody still waits for them.
pub(crate) type Landing = Box<dyn FnOnce(&Answers) + Send>;

/// Records that were sent together: one wait, however many they are.
#[derive(Debug)]
pub(super) struct Batch(Mutex<State>);

struct State {
    answers: Answers,
    left: usize,
    done: Option<oneshot::Sender<Answers>>,
    landing: Option<Landing>,
}

/// One record's claim to an answer.
#[derive(Debug)]
pub(super) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

impl Batch {
    pub(super) fn new(count: usize, landing: Option<Landing>) -> (Arc<Self>, oneshot::Receiver<Answers>) {
        let (done, answered) = oneshot::channel();
        let answers = (0..count).map(|_| Err(error::undelivered(Code::Unknown))).collect();
        let mut state = State { answers, left: count, done: Some(done), landing };
        if count == 0 {
            state.finish();
        }
        (Arc::new(Self(Mutex::new(state))), answered)
    }
}

impl State {
    fn finish(&mut self) {
        if let Some(landing) = self.landing.take() {
            landing(&self.answers);
        }
        if let Some(done) = self.done.take() {
            // Whoever no longer waits does not need it.
            let _ = done.send(std::mem::take(&mut self.answers));
        }
    }
}

impl Ticket {
    pub(super) const fn new(batch: Arc<Batch>, index: usize) -> Self {
        Self { batch, index }
    }

    /// What became of the record.
    pub(super) fn answer(&self, answer: Result<Place, Code>) {
        let mut state = self.batch.0.lock();
        if let Some(slot) = state.answers.get_mut(self.index) {
            *slot = answer.map_err(error::undelivered);
        }
        state.left = state.left.saturating_sub(1);
        if state.left == 0 {
            state.finish();
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use busgate_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn answers_are_in_the_order_of_the_records() {
        let (batch, answered) = Batch::new(2, None);
        let place = Place { partition: 1, offset: 2 };
        Ticket::new(Arc::clone(&batch), 1).answer(Ok(place));
        Ticket::new(Arc::clone(&batch), 0).answer(Err(Code::QueueFull));
        let answers = answered.await.unwrap();
        assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Exhausted);
        assert_eq!(*answers[1].as_ref().unwrap(), place);
    }

    #[tokio::test]
    async fn nothing_is_answered_at_once() {
        assert!(Batch::new(0, None).1.await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_record_that_is_lost_ends_the_wait() {
        let (batch, answered) = Batch::new(2, None);
        Ticket::new(Arc::clone(&batch), 0).answer(Err(Code::QueueFull));
        drop(batch);
        assert!(answered.await.is_err());
    }

    #[test]
    fn the_answers_are_told_when_nobody_waits_any_more() {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let landing: Landing = Box::new(move |answers| count.store(answers.len(), Ordering::Relaxed));
        let (batch, answered) = Batch::new(1, Some(landing));
        drop(answered);
        Ticket::new(batch, 0).answer(Err(Code::QueueFull));
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
