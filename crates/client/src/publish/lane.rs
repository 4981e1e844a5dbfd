//! One `PublishStream`: messages go out as they come, answers come back by their numbers.

use std::{collections::VecDeque, pin::pin, sync::Arc};

use busgate_core::{Draft, Effect, Error, EventName, Receipt, Result, Tasks, Turn};
use busgate_wire::{convert, proto::event::v1::PublishStreamRequest};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

use crate::connection::{Line, read_status};

type Answer = Result<Receipt>;

/// A stream that messages are published over.
#[derive(Debug)]
pub(super) struct Lane {
    line: Line,
    waiting: Arc<Mutex<Waiting>>,
}

/// Who waits for the answers, by the numbers of their messages.
#[derive(Debug)]
struct Waiting {
    /// Where messages go; gone when no more do.
    requests: Option<mpsc::UnboundedSender<PublishStreamRequest>>,
    /// The number of the first in the queue.
    first: u64,
    /// `None` where the answer came already.
    queue: VecDeque<Option<oneshot::Sender<Answer>>>,
    /// Why no answers come any more.
    ended: Option<Error>,
}

impl Lane {
    /// Opens a stream; `tasks` own who reads its answers. Messages may be sent before it stands.
    pub(super) fn open(line: Line, tasks: &Tasks) -> Arc<Self> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(Waiting::new(Some(requests))));
        tasks.spawn(read(line.clone(), outgoing, End(Arc::clone(&waiting))));
        Arc::new(Self { line, waiting })
    }

    pub(super) const fn line(&self) -> &Line {
        &self.line
    }

    /// Whether new messages may go over it.
    pub(super) fn is_open(&self) -> bool {
        self.waiting.lock().requests.is_some() && self.line.is_good()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.lock().queue.is_empty()
    }

    /// Sends nothing new over it; it ends when everything is answered.
    pub(super) fn retire(&self) {
        self.waiting.lock().requests = None;
    }

    /// Sends messages, in their turn, and waits for their answers, which are in the same order.
    ///
    /// # Errors
    /// What ended the stream before it answered any of them.
    pub(super) async fn send(
        &self,
        event: &EventName,
        messages: impl ExactSizeIterator<Item = Draft>,
        turn: Option<Turn>,
    ) -> Result<Vec<Answer>> {
        let answers: Vec<_> = {
            let mut waiting = self.waiting.lock();
            let Some(requests) = waiting.requests.clone() else {
                // Nobody reads what would be sent now.
                return Err(waiting.ended.clone().unwrap_or_else(over).with_effect(Effect::None));
            };
            // Under the lock: a caller's messages stay in their order.
            messages
                .map(|draft| {
                    let (sender, answer) = oneshot::channel();
                    let sequence = waiting.enter(sender);
                    // A stream that has ended in between answers all who wait.
                    _ = requests.send(convert::stream_request(sequence, event, draft));
                    answer
                })
                .collect()
        };
        drop(turn);
        let mut ended = None;
        let answers = join_all(answers).await.into_iter().map(|answer| {
            answer.unwrap_or_else(|_| {
                let error = self.why();
                ended = Some(error.clone());
                Err(error)
            })
        });
        let answers: Vec<_> = answers.collect();
        match ended {
            Some(error) if answers.iter().all(Result::is_err) => Err(error),
            _ => Ok(answers),
        }
    }

    /// Why an answer did not come.
    fn why(&self) -> Error {
        self.waiting.lock().ended.clone().unwrap_or_else(over)
    }
}

impl Waiting {
    const fn new(requests: Option<mpsc::UnboundedSender<PublishStreamRequest>>) -> Self {
        Self { requests, first: 0, queue: VecDeque::new(), ended: None }
    }

    /// Somebody waits; the number of the message.
    fn enter(&mut self, sender: oneshot::Sender<Answer>) -> u64 {
        let sequence = self.first + self.queue.len() as u64;
        self.queue.push_back(Some(sender));
        sequence
    }

    /// The answer to a message came. One that nobody waits for is passed over.
    fn answered(&mut self, sequence: u64, answer: Answer) {
        let place = sequence.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let sender = place.and_then(|place| self.queue.get_mut(place)).and_then(Option::take);
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.first += 1;
        }
        if let Some(sender) = sender {
            // Who gave up waiting does not want it.
            _ = sender.send(answer);
        }
    }
}

/// Ends a lane when it is dropped, at the latest: nobody waits for ever.
struct End(Arc<Mutex<Waiting>>);

impl End {
    fn because(&self, error: Error) {
        let left = {
            let mut waiting = self.0.lock();
            waiting.ended.get_or_insert(error);
            waiting.requests = None;
            std::mem::take(&mut waiting.queue)
        };
        // Those who wait look up why.
        drop(left);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.because(over());
    }
}

/// Opens the stream and hands out its answers until it ends. No messages go over a link that is spent.
async fn read(line: Line, outgoing: mpsc::UnboundedReceiver<PublishStreamRequest>, end: End) {
    let mut service = line.service();
    let mut answers = pin!(async {
        let mut answers = service.publish_stream(UnboundedReceiverStream::new(outgoing)).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            let (sequence, answer) = convert::read_streamed(answer);
            end.0.lock().answered(sequence, answer);
        }
        Ok::<_, Status>(())
    });
    let ended = tokio::select! {
        biased;
        ended = &mut answers => ended,
        () = line.spent() => {
            end.0.lock().requests = None;
            answers.await
        }
    };
    match ended {
        Ok(()) => end.because(over()),
        Err(status) => end.because(read_status(&status)),
    }
}

/// The stream ended, and nobody said why.
fn over() -> Error {
    Error::unavailable("the gateway ended the stream of publishes").with_effect(Effect::Unknown)
}

#[cfg(test)]
mod tests {
    use busgate_core::MessageId;
    use proptest::prelude::*;

    use super::*;

    fn answer(sequence: u64) -> Answer {
        let id = MessageId::new(sequence.to_string()).unwrap();
        Ok(Receipt { id, cursor: None, duplicate: false })
    }

    proptest! {
        #[test]
        fn answers_find_their_messages_in_any_order(order in Just((0u64..40).collect::<Vec<_>>()).prop_shuffle()) {
            let mut waiting = Waiting::new(None);
            let mut receivers = Vec::new();
            for _ in 0..40 {
                let (sender, receiver) = oneshot::channel();
                waiting.enter(sender);
                receivers.push(receiver);
            }
            for sequence in order {
                waiting.answered(sequence, answer(sequence));
                waiting.answered(sequence, answer(99));
            }
            prop_assert!(waiting.queue.is_empty());
            for (sequence, mut receiver) in receivers.into_iter().enumerate() {
                let receipt = receiver.try_recv().unwrap().unwrap();
                prop_assert_eq!(receipt.id.as_str(), sequence.to_string());
            }
        }
    }

    #[test]
    fn an_answer_to_nothing_is_passed_over() {
        let mut waiting = Waiting::new(None);
        waiting.answered(u64::MAX, answer(0));
        let (sender, mut receiver) = oneshot::channel();
        assert_eq!(waiting.enter(sender), 0);
        waiting.answered(0, answer(0));
        waiting.answered(0, answer(1));
        assert_eq!(receiver.try_recv().unwrap().unwrap().id.as_str(), "0");
    }

    #[test]
    fn whoever_waits_when_it_ends_learns_why() {
        let end = End(Arc::new(Mutex::new(Waiting::new(None))));
        let (sender, mut receiver) = oneshot::channel();
        end.0.lock().enter(sender);
        end.because(Error::unavailable("reset"));
        drop(Arc::clone(&end.0));
        assert!(receiver.try_recv().is_err());
        assert_eq!(end.0.lock().ended.as_ref().unwrap().message(), "reset");
    }
}
