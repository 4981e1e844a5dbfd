//! Settlements on their way over a stream: gathered into frames, answered by sequence. Pure: frames out, answers in.

use std::collections::{HashMap, VecDeque};

use busgate_core::{AckStatus, Effect, SettleAnswer};

/// How many entries a frame has at most, if no single batch has more.
pub(crate) const FRAME_ENTRIES: usize = 1000;

/// Settlements and who waits for them.
#[derive(Debug)]
struct Ask<W, E> {
    entries: Vec<E>,
    waiter: W,
}

/// Who waits for so many answers of a frame.
#[derive(Debug)]
struct Part<W> {
    entries: usize,
    waiter: W,
}

/// The settlements of one stream that are not answered yet.
#[derive(Debug)]
pub(crate) struct Outbox<W, E> {
    queued: VecDeque<Ask<W, E>>,
    sent: HashMap<u64, Vec<Part<W>>>,
    next_sequence: u64,
}

impl<W, E> Outbox<W, E> {
    pub(crate) fn new() -> Self {
        Self { queued: VecDeque::new(), sent: HashMap::new(), next_sequence: 0 }
    }

    /// Queues a batch; `waiter` gets its answers, as many as it has entries.
    pub(crate) fn push(&mut self, entries: Vec<E>, waiter: W) {
        self.queued.push_back(Ask { entries, waiter });
    }

    /// Whether there is something to send.
    pub(crate) fn is_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Whether everything is answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.sent.is_empty()
    }

    /// The next frame: its sequence, and as many whole batches as fit.
    pub(crate) fn next_frame(&mut self) -> Option<(u64, Vec<E>)> {
        let Ask { mut entries, waiter } = self.queued.pop_front()?;
        let mut parts = vec![Part { entries: entries.len(), waiter }];
        while let Some(next) = self.queued.front()
            && entries.len() + next.entries.len() <= FRAME_ENTRIES
            && let Some(Ask { entries: mut more, waiter }) = self.queued.pop_front()
        {
            parts.push(Part { entries: more.len(), waiter });
            entries.append(&mut more);
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.sent.insert(sequence, parts);
        Some((sequence, entries))
    }

    /// Divides the answers of a frame among those who wait for them; what the gateway left out is `unavailable`.
    pub(crate) fn answered(
        &mut self,
        sequence: u64,
        answers: impl IntoIterator<Item = SettleAnswer>,
    ) -> Vec<(W, Vec<SettleAnswer>)> {
        let missing = || SettleAnswer { status: AckStatus::Unavailable, message: None };
        let mut answers = answers.into_iter();
        let divide = |part: Part<W>| {
            let own = (0..part.entries).map(|_| answers.next().unwrap_or_else(missing)).collect();
            (part.waiter, own)
        };
        self.sent.remove(&sequence).unwrap_or_default().into_iter().map(divide).collect()
    }

    /// The stream is gone: everyone who waits, and whether what they asked for may have happened.
    pub(crate) fn fail(&mut self) -> Vec<(W, Effect)> {
        let sent = self.sent.drain().flat_map(|(_, parts)| parts);
        let sent = sent.map(|part| (part.waiter, Effect::Unknown));
        let queued = self.queued.drain(..).map(|ask| (ask.waiter, Effect::None));
        sent.chain(queued).collect()
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::{SettleAction, SettleRequest};
    use proptest::prelude::*;

    use super::*;

    fn entries(count: usize, first: usize) -> Vec<SettleRequest> {
        let entry = |n| SettleRequest { ack_id: format!("{n}"), action: SettleAction::Ack };
        (first..first + count).map(entry).collect()
    }

    /// Answers each entry with its own ack id as the message.
    fn echo(entries: &[SettleRequest]) -> Vec<SettleAnswer> {
        let answer = |entry: &SettleRequest| SettleAnswer {
            status: AckStatus::Acked,
            message: Some(entry.ack_id.clone()),
        };
        entries.iter().map(answer).collect()
    }

    #[test]
    fn what_is_queued_goes_in_one_frame() {
        let mut outbox = Outbox::new();
        for nth in 0..5 {
            outbox.push(entries(1, nth), nth);
        }
        let (_, frame) = outbox.next_frame().unwrap();
        assert_eq!(frame.len(), 5);
        assert!(outbox.next_frame().is_none());
    }

    #[test]
    fn a_failed_stream_tells_what_may_have_happened() {
        let mut outbox = Outbox::new();
        outbox.push(entries(1, 0), "sent");
        outbox.next_frame();
        outbox.push(entries(1, 1), "queued");
        assert_eq!(outbox.fail(), [("sent", Effect::Unknown), ("queued", Effect::None)]);
        assert!(outbox.is_idle());
    }

    #[test]
    fn an_answer_that_is_missing_is_unavailable() {
        let mut outbox = Outbox::new();
        outbox.push(entries(2, 0), ());
        let (sequence, frame) = outbox.next_frame().unwrap();
        let answers = outbox.answered(sequence, echo(&frame[..1]));
        let statuses: Vec<_> = answers[0].1.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [AckStatus::Acked, AckStatus::Unavailable]);
        assert!(outbox.answered(99, []).is_empty(), "a sequence nobody sent");
    }

    proptest! {
        #[test]
        fn everyone_gets_exactly_their_own_answers(sizes in proptest::collection::vec(0usize..700, 1..20), turned: bool) {
            let mut outbox = Outbox::new();
            let mut first = 0;
            for (waiter, size) in sizes.iter().enumerate() {
                outbox.push(entries(*size, first), (waiter, first));
                first += size;
            }
            let mut frames: Vec<_> = std::iter::from_fn(|| outbox.next_frame()).collect();
            prop_assert!(frames.iter().all(|(_, frame)| frame.len() <= FRAME_ENTRIES));
            if turned {
                frames.reverse();
            }
            let mut told = 0;
            for (sequence, frame) in frames {
                for ((waiter, first), answers) in outbox.answered(sequence, echo(&frame)) {
                    prop_assert_eq!(answers, echo(&entries(sizes[waiter], first)));
                    told += 1;
                }
            }
            prop_assert_eq!(told, sizes.len());
            prop_assert!(outbox.is_idle());
        }
    }
}
