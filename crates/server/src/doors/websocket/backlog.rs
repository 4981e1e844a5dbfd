//! What a client has asked for and the gateway has not yet begun: in order, bounded, and gathered into few calls.

use std::collections::VecDeque;

use busgate_core::{Draft, EventName, SettleAction, SettleRequest, SubscribeRequest};
use busgate_wire::encoding::Encoding;

/// How many entries to settle go into one call.
const SETTLE_AT_ONCE: usize = 1024;

/// How many messages to publish go into one call, and how many bytes of them.
const PUBLISH_AT_ONCE: usize = 256;
const PUBLISH_BYTES_AT_ONCE: usize = 1024 * 1024;

/// How much may wait before nothing more is read from the client.
const MOST_ENTRIES: usize = 8192;
const MOST_ASKS: usize = 1024;
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// One frame that settles or extends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settle {
    pub(super) reference: Option<String>,
    pub(super) entries: Vec<SettleRequest>,
}

/// Anything else a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Subscribe { sub: String, request: Box<SubscribeRequest>, encoding: Encoding },
    Unsubscribe { reference: Option<String>, sub: String },
    Publish { event: EventName, batch: Vec<Publish> },
}

/// One frame that publishes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) reference: Option<String>,
    pub(super) draft: Draft,
}

/// What waits. Settling and everything else are two queues, so that a slow publish keeps no ack waiting.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    settles: VecDeque<Settle>,
    entries: usize,
    asks: VecDeque<Ask>,
    bytes: usize,
}

impl Backlog {
    /// Whether there is room for what one more read may bring.
    pub(super) fn has_room(&self) -> bool {
        self.entries < MOST_ENTRIES && self.asks.len() < MOST_ASKS && self.bytes < MOST_BYTES
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.settles.is_empty() && self.asks.is_empty()
    }

    pub(super) fn push_settle(&mut self, settle: Settle) {
        self.entries += settle.entries.len();
        self.settles.push_back(settle);
    }

    pub(super) fn push_ask(&mut self, ask: Ask) {
        self.bytes += bytes(&ask);
        self.asks.push_back(ask);
    }

    /// The frames to settle in one call; empty when none waits. An extension goes alone: what the client says of the
    /// same delivery before and after it is carried out before and after it.
    pub(super) fn take_settles(&mut self) -> Vec<Settle> {
        let mut taken: Vec<Settle> = Vec::new();
        let mut entries = 0;
        while let Some(next) = self.settles.front() {
            let alone = extends(next) || taken.last().is_some_and(extends);
            if !taken.is_empty() && (alone || entries + next.entries.len() > SETTLE_AT_ONCE) {
                break;
            }
            entries += next.entries.len();
            taken.extend(self.settles.pop_front());
        }
        self.entries -= entries;
        self.settles.shrink_to(0);
        taken
    }

    /// What to do next, if anything. What is published to one event without a break is one batch.
    pub(super) fn take_ask(&mut self) -> Option<Ask> {
        let mut ask = self.asks.pop_front()?;
        let mut taken = bytes(&ask);
        if let Ask::Publish { event, batch } = &mut ask {
            while self.asks.front().is_some_and(|next| joins(next, event, batch.len(), taken)) {
                let Some(Ask::Publish { batch: more, .. }) = self.asks.pop_front() else { break };
                taken += payload_bytes(&more);
                batch.extend(more);
            }
        }
        self.bytes -= taken;
        self.asks.shrink_to(0);
        Some(ask)
    }
}

fn extends(settle: &Settle) -> bool {
    settle.entries.iter().any(|entry| matches!(entry.action, SettleAction::Extend(_)))
}

fn joins(ask: &Ask, into: &EventName, count: usize, taken: usize) -> bool {
    let to_same = matches!(ask, Ask::Publish { event, .. } if event == into);
    to_same && count < PUBLISH_AT_ONCE && taken + bytes(ask) <= PUBLISH_BYTES_AT_ONCE
}

fn bytes(ask: &Ask) -> usize {
    match ask {
        Ask::Publish { batch, .. } => payload_bytes(batch),
        Ask::Subscribe { .. } | Ask::Unsubscribe { .. } => 0,
    }
}

fn payload_bytes(batch: &[Publish]) -> usize {
    batch.iter().map(|publish| publish.draft.payload.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settle(ack_id: &str, action: SettleAction) -> Settle {
        Settle { reference: None, entries: vec![SettleRequest { ack_id: ack_id.into(), action }] }
    }

    fn publish(event: &str, size: usize) -> Ask {
        let draft = Draft { payload: vec![0; size].into(), ..Draft::default() };
        Ask::Publish {
            event: EventName::new(event).unwrap(),
            batch: vec![Publish { reference: None, draft }],
        }
    }

    /// The batches, as the events and the number of messages of each.
    fn batches(asks: impl IntoIterator<Item = Ask>) -> Vec<(String, usize)> {
        let mut backlog = Backlog::default();
        asks.into_iter().for_each(|ask| backlog.push_ask(ask));
        let mut taken = Vec::new();
        while let Some(Ask::Publish { event, batch }) = backlog.take_ask() {
            taken.push((event.to_string(), batch.len()));
        }
        assert!(backlog.is_empty());
        assert_eq!(backlog.bytes, 0);
        taken
    }

    #[test]
    fn acks_are_gathered_and_an_extension_goes_alone() {
        let mut backlog = Backlog::default();
        let extend = SettleAction::Extend(Duration::from_secs(1));
        for settle in [
            settle("a", SettleAction::Ack),
            settle("b", SettleAction::Ack),
            settle("c", extend),
            settle("c", SettleAction::Ack),
        ] {
            backlog.push_settle(settle);
        }
        let sizes: Vec<_> = std::iter::repeat_with(|| backlog.take_settles().len()).take(4).collect();
        assert_eq!(sizes, [2, 1, 1, 0]);
        assert_eq!(backlog.entries, 0);
    }

    #[test]
    fn one_call_settles_a_bounded_number() {
        let mut backlog = Backlog::default();
        for _ in 0..=SETTLE_AT_ONCE {
            backlog.push_settle(settle("a", SettleAction::Ack));
        }
        assert_eq!(backlog.take_settles().len(), SETTLE_AT_ONCE);
        assert_eq!(backlog.take_settles().len(), 1);
    }

    #[test]
    fn messages_of_one_event_are_one_batch_and_their_order_stays() {
        let asks = ["a", "a", "b", "a"].map(|event| publish(event, 1));
        assert_eq!(batches(asks), [("a".into(), 2), ("b".into(), 1), ("a".into(), 1)]);
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_size() {
        let many = (0..=PUBLISH_AT_ONCE).map(|_| publish("a", 1));
        assert_eq!(batches(many), [("a".into(), PUBLISH_AT_ONCE), ("a".into(), 1)]);
        let big = (0..3).map(|_| publish("a", PUBLISH_BYTES_AT_ONCE / 2));
        assert_eq!(batches(big), [("a".into(), 2), ("a".into(), 1)]);
    }

    #[test]
    fn a_full_backlog_has_no_room() {
        let mut backlog = Backlog::default();
        backlog.push_ask(publish("a", MOST_BYTES));
        assert!(!backlog.has_room());
        backlog.take_ask();
        assert!(backlog.has_room());
        for _ in 0..MOST_ENTRIES {
            backlog.push_settle(settle("a", SettleAction::Ack));
        }
        assert!(!backlog.has_room());
    }
}
