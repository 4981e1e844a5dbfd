//! The answers to records that were sent together.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use crate::codec::Place;

/// What became of each record, in their order.
pub(super) type Answers = Vec<Result<Place, Code>>;

/// Records that were sent together: one wait, however many they are.
#[derive(Debug)]
pub(super) struct Batch(Mutex<State>);

#[derive(Debug)]
struct State {
    answers: Answers,
    left: usize,
    done: Option<oneshot::Sender<Answers>>,
}

/// One record's claim to an answer.
#[derive(Debug)]
pub(super) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

impl Batch {
    pub(super) fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<Answers>) {
        let (done, answered) = oneshot::channel();
        let mut state = State { answers: vec![Err(Code::Unknown); count], left: count, done: Some(done) };
        if count == 0 {
            state.finish();
        }
        (Arc::new(Self(Mutex::new(state))), answered)
    }
}

impl State {
    fn finish(&mut self) {
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
            *slot = answer;
        }
        state.left = state.left.saturating_sub(1);
        if state.left == 0 {
            state.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_in_the_order_of_the_records() {
        let (batch, answered) = Batch::new(2);
        let place = Place { partition: 1, offset: 2 };
        Ticket::new(Arc::clone(&batch), 1).answer(Ok(place));
        Ticket::new(Arc::clone(&batch), 0).answer(Err(Code::QueueFull));
        assert_eq!(answered.await.unwrap(), [Err(Code::QueueFull), Ok(place)]);
    }

    #[tokio::test]
    async fn nothing_is_answered_at_once() {
        assert!(Batch::new(0).1.await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_record_that_is_lost_ends_the_wait() {
        let (batch, answered) = Batch::new(2);
        Ticket::new(Arc::clone(&batch), 0).answer(Err(Code::QueueFull));
        drop(batch);
        assert!(answered.await.is_err());
    }
}
