//! What a run was answered, and what therefore must be, or must not come any more.

use std::{collections::BTreeSet, sync::Arc};

use busgate_core::{EventName, Message, Page, ReadRequest, Start, Transport};
use parking_lot::Mutex;

/// What a run comes to: nothing, or what was broken.
pub(crate) type Verdict<T = ()> = Result<T, String>;

/// The answers of one run over one event and one group.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    offered: Mutex<BTreeSet<String>>,
    published: Mutex<BTreeSet<String>>,
    settled: Mutex<BTreeSet<String>>,
}

impl Ledger {
    /// A publish starts.
    pub(crate) fn offer(&self, id: &str) {
        self.offered.lock().insert(id.to_owned());
    }

    /// It was answered with a receipt.
    pub(crate) fn published(&self, id: &str) {
        self.published.lock().insert(id.to_owned());
    }

    /// A delivery came to the group.
    ///
    /// # Errors
    /// When it was answered before that the group is done with it, or nobody published it.
    pub(crate) fn delivered(&self, id: &str) -> Verdict {
        if self.settled.lock().contains(id) {
            return Err(format!("{id} was delivered again after it was answered as settled"));
        }
        if !self.offered.lock().contains(id) {
            return Err(format!("{id} was delivered, and nobody published it"));
        }
        Ok(())
    }

    /// The group is done with it: the answer to an ack or a reject.
    pub(crate) fn settled(&self, id: &str) {
        self.settled.lock().insert(id.to_owned());
    }

    /// How many publishes were answered.
    pub(crate) fn published_count(&self) -> usize {
        self.published.lock().len()
    }

    /// How many deliveries were answered as settled.
    pub(crate) fn settled_count(&self) -> usize {
        self.settled.lock().len()
    }

    /// Compares with what the back end holds.
    ///
    /// # Errors
    /// When something answered is not there, or something is there twice or from nobody.
    pub(crate) fn verify(&self, held: &[Arc<Message>]) -> Verdict {
        let mut seen = BTreeSet::new();
        let offered = self.offered.lock();
        for message in held {
            let id = message.id.as_str();
            if !offered.contains(id) {
                return Err(format!("{id} is there, and nobody published it"));
            }
            if !seen.insert(id.to_owned()) {
                return Err(format!("{id} is there twice"));
            }
        }
        match self.published.lock().iter().find(|id| !seen.contains(*id)) {
            Some(lost) => Err(format!("{lost} was answered as published and is lost")),
            None => Ok(()),
        }
    }
}

/// Everything that an event holds, from the back end itself.
pub(crate) async fn held(inner: &Arc<dyn Transport>, event: &EventName) -> Vec<Arc<Message>> {
    let mut start = Start::Beginning;
    let mut all = Vec::new();
    loop {
        let request = ReadRequest { start, limit: 1000, max_bytes: 1 << 20 };
        let Page { messages, next, end, .. } = inner.read(event, request).await.unwrap();
        all.extend(messages.into_iter().map(|(_, message)| message));
        if end {
            return all;
        }
        start = Start::After(next);
    }
}

/// How many messages the back end still has to bring to the group, or to hear of.
pub(crate) async fn unsettled(inner: &Arc<dyn Transport>, event: &EventName) -> u64 {
    let all = inner.lag(event).await.unwrap();
    all.iter().map(|lag| lag.waiting.unwrap_or_default() + lag.in_flight + lag.delayed).sum()
}
