//! Who on this node waits to hear what.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::settle::record::Fates;

/// Who waits, by the number of what was told.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    calls: Mutex<HashMap<u64, mpsc::UnboundedSender<Fates>>>,
    takeovers: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

/// A call that may be asked several times. Answers count until it is dropped, however late they come.
#[derive(Debug)]
pub(crate) struct Call {
    number: u64,
    answers: mpsc::UnboundedReceiver<Fates>,
    listeners: Arc<Listeners>,
}

impl Call {
    /// The number by which answers name it.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The next answer.
    pub(super) async fn next(&mut self) -> Option<Fates> {
        self.answers.recv().await
    }

    /// What was answered since the last question.
    pub(crate) fn late(&mut self) -> Fates {
        let mut settled = Fates::new();
        while let Ok(more) = self.answers.try_recv() {
            settled.extend(more);
        }
        settled
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.listeners.calls.lock().remove(&self.number);
    }
}

/// A takeover of this node that is on its way. Nobody listens for it any more once it is dropped.
#[derive(Debug)]
pub(super) struct Takeover {
    member: u64,
    heard: oneshot::Receiver<()>,
    listeners: Arc<Listeners>,
}

impl Takeover {
    /// Waits until it has its place among all that is told; whether that can still be.
    pub(super) async fn heard(&mut self) -> bool {
        (&mut self.heard).await.is_ok()
    }
}

impl Drop for Takeover {
    fn drop(&mut self) {
        self.listeners.takeovers.lock().remove(&self.member);
    }
}

impl Listeners {
    /// Listens for the answers to a call, until that is dropped.
    pub(super) fn call(self: &Arc<Self>, number: u64) -> Call {
        let (heard, answers) = mpsc::unbounded_channel();
        self.calls.lock().insert(number, heard);
        Call { number, answers, listeners: Arc::clone(self) }
    }

    /// Takes an answer in.
    pub(super) fn answered(&self, call: u64, settled: &Fates) {
        if let Some(heard) = self.calls.lock().get(&call) {
            let _ = heard.send(settled.clone());
        }
    }

    /// Listens for a member's own takeover, until that is dropped.
    pub(super) fn takeover(self: &Arc<Self>, member: u64) -> Takeover {
        let (done, heard) = oneshot::channel();
        self.takeovers.lock().insert(member, done);
        Takeover { member, heard, listeners: Arc::clone(self) }
    }

    /// Takes in that a member's takeover has its place.
    pub(super) fn took_over(&self, member: u64) {
        if let Some(heard) = self.takeovers.lock().remove(&member) {
            let _ = heard.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_listens_for_a_takeover_that_was_given_up() {
        let listeners = Arc::<Listeners>::default();
        let (mut kept, given_up) = (listeners.takeover(1), listeners.takeover(2));
        drop(given_up);
        assert_eq!(listeners.takeovers.lock().keys().copied().collect::<Vec<_>>(), [1]);
        listeners.took_over(1);
        assert!(kept.heard().await);
    }
}
