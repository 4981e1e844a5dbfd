//! The messages of one publish: which are still to be sent, and what became of the others. Pure.

use busgate_core::{Draft, Effect, Error, Limits, Message, Receipt, Result, Retry};

/// The messages of a batch, each for itself.
#[derive(Debug)]
pub(super) struct Entries {
    entries: Vec<Entry>,
    /// The places of those that are to be sent, in their order.
    open: Vec<usize>,
    dedup: bool,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    /// What is known of it so far.
    answer: Option<Result<Receipt>>,
    /// Whether any try may have published it.
    effect: Effect,
}

impl Entries {
    /// All of them open but those that no gateway would take.
    pub(super) fn new(batch: Vec<Message>, limits: &Limits, dedup: bool) -> Self {
        let entry = |message: Message| {
            let answer = limits.check(&message).err().map(Err);
            Entry { message, answer, effect: Effect::None }
        };
        let entries: Vec<Entry> = batch.into_iter().map(entry).collect();
        let open = (0..).zip(&entries).filter(|(_, entry)| entry.answer.is_none());
        Self { open: open.map(|(place, _)| place).collect(), entries, dedup }
    }

    /// The places of those that are to be sent.
    pub(super) fn open(&self) -> &[usize] {
        &self.open
    }

    /// Those that are to be sent, in their order.
    pub(super) fn messages(&self) -> impl ExactSizeIterator<Item = Draft> {
        self.open.iter().map(|place| self.entries.get(*place).map(draft).unwrap_or_default())
    }

    /// What became of all that were sent. The error is why some are still open, the one with the longest hint; its effect
    /// is unknown if that of any is.
    pub(super) fn record(&mut self, round: Result<Vec<Result<Receipt>>>) -> Option<Error> {
        let sent = std::mem::take(&mut self.open);
        let mut answers = match round {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); sent.len()],
        };
        answers.resize_with(sent.len(), || Err(unanswered()));
        let (mut worst, mut effect): (Option<Error>, _) = (None, Effect::None);
        for (place, answer) in sent.into_iter().zip(answers) {
            let Some(entry) = self.entries.get_mut(place) else { continue };
            if let Err(error) = &answer {
                if error.effect() == Effect::Unknown {
                    entry.effect = Effect::Unknown;
                }
                if may_repeat(error, entry.effect, self.dedup) {
                    self.open.push(place);
                    if error.effect() == Effect::Unknown {
                        effect = Effect::Unknown;
                    }
                    if worst.as_ref().is_none_or(|worst| worst.retry_after() < error.retry_after()) {
                        worst = Some(error.clone());
                    }
                }
            }
            entry.answer = Some(answer);
        }
        worst.map(|worst| worst.with_effect(effect))
    }

    /// What is known of each, in the order of the batch.
    pub(super) fn answers(self) -> Vec<Result<Receipt>> {
        self.entries.into_iter().map(Entry::end).collect()
    }
}

impl Entry {
    fn end(self) -> Result<Receipt> {
        let answer = self.answer.unwrap_or_else(|| Err(unanswered()));
        answer.map_err(|error| match self.effect {
            Effect::Unknown => error.with_effect(Effect::Unknown),
            Effect::None => error,
        })
    }
}

/// Whether a message that failed with `error` may be sent again. One that may be there already needs a gateway that
/// remembers its id.
fn may_repeat(error: &Error, effect: Effect, dedup: bool) -> bool {
    error.retry() != Retry::Never && (dedup || effect == Effect::None)
}

fn unanswered() -> Error {
    Error::internal("the gateway left a message without an answer").with_effect(Effect::Unknown)
}

/// A message as a publisher's draft; the gateway tells the time.
fn draft(entry: &Entry) -> Draft {
    let message = &entry.message;
    Draft {
        id: Some(message.id.clone()),
        payload: message.payload.clone(),
        metadata: message.metadata.clone(),
        key: message.key.clone(),
        content_type: message.content_type.clone(),
        source: Some(message.source.clone()).filter(|source| !source.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::{ErrorKind, MessageId};
    use proptest::prelude::*;

    use super::*;

    fn entries(count: usize, dedup: bool) -> Entries {
        let message = |number: usize| Message::new(MessageId::new(number.to_string()).unwrap(), "x");
        Entries::new((0..count).map(message).collect(), &Limits::default(), dedup)
    }

    fn receipt(entries: &Entries, place: usize) -> Receipt {
        let id = entries.entries[place].message.id.clone();
        Receipt { id, cursor: None, duplicate: false }
    }

    #[test]
    fn what_no_gateway_takes_is_never_sent() {
        let limits = Limits { max_payload_bytes: 1, ..Limits::default() };
        let batch = ["xx", "x"].map(|payload| Message::new(MessageId::generate(), payload));
        let entries = Entries::new(batch.into(), &limits, true);
        assert_eq!(entries.open(), [1]);
        assert_eq!(entries.answers()[0].as_ref().unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn without_dedup_an_unknown_effect_is_not_repeated() {
        for (dedup, again) in [(true, 1), (false, 0)] {
            let mut entries = entries(1, dedup);
            let lost = Error::unavailable("lost").with_effect(Effect::Unknown);
            entries.record(Err(lost));
            assert_eq!(entries.open().len(), again);
        }
    }

    #[test]
    fn an_effect_that_was_unknown_once_stays_unknown() {
        let mut entries = entries(1, true);
        entries.record(Err(Error::unavailable("lost").with_effect(Effect::Unknown)));
        entries.record(Ok(vec![Err(Error::new(ErrorKind::Denied, "no"))]));
        let error = entries.answers().remove(0).unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Denied, Effect::Unknown));
    }

    #[test]
    fn the_longest_hint_decides() {
        let mut entries = entries(3, true);
        let hinted =
            |seconds| Err(Error::unavailable("x").with_retry_after(std::time::Duration::from_secs(seconds)));
        let worst = entries.record(Ok(vec![hinted(1), hinted(3), hinted(2)])).unwrap();
        assert_eq!(worst.retry_after(), Some(std::time::Duration::from_secs(3)));
    }

    #[test]
    fn one_unknown_effect_is_enough() {
        let mut entries = entries(2, true);
        let hinted = Error::unavailable("x").with_retry_after(std::time::Duration::from_secs(1));
        let lost = Error::unavailable("lost").with_effect(Effect::Unknown);
        let worst = entries.record(Ok(vec![Err(lost), Err(hinted)])).unwrap();
        assert_eq!((worst.effect(), worst.retry_after().is_some()), (Effect::Unknown, true));
    }

    #[test]
    fn an_answer_too_few_is_an_unknown_effect() {
        let mut entries = entries(2, true);
        let first = receipt(&entries, 0);
        assert!(entries.record(Ok(vec![Ok(first)])).is_none());
        assert_eq!(entries.answers()[1].as_ref().unwrap_err().effect(), Effect::Unknown);
    }

    proptest! {
        /// A success is never sent again, a permanent error neither, and every message is answered in its place.
        #[test]
        fn only_what_may_yet_succeed_is_repeated(rounds in prop::collection::vec(prop::collection::vec(0u8..3, 8), 1..6)) {
            let mut entries = entries(8, true);
            for round in rounds {
                let sent: Vec<usize> = entries.open().to_vec();
                let answers: Vec<_> = sent.iter().map(|place| match round[*place] {
                    0 => Ok(receipt(&entries, *place)),
                    1 => Err(Error::unavailable("later")),
                    _ => Err(Error::invalid("never")),
                }).collect();
                entries.record(Ok(answers));
                let open: Vec<usize> = sent.into_iter().filter(|place| round[*place] == 1).collect();
                prop_assert_eq!(entries.open(), &open[..]);
            }
            for (place, answer) in entries.answers().into_iter().enumerate() {
                if let Ok(receipt) = answer {
                    prop_assert_eq!(receipt.id.as_str(), place.to_string());
                }
            }
        }
    }
}
