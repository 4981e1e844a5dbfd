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

    /// Listens for a member's own takeover.
    pub(super) fn takeover(&self, member: u64) -> oneshot::Receiver<()> {
        let (done, heard) = oneshot::channel();
        self.takeovers.lock().insert(member, done);
        heard
    }

    /// Takes in that a member's takeover has its place.
    pub(super) fn took_over(&self, member: u64) {
        if let Some(heard) = self.takeovers.lock().remove(&member) {
            let _ = heard.send(());
        }
    }

    /// Listens for a takeover no longer.
    pub(super) fn forget(&self, member: u64) {
        self.takeovers.lock().remove(&member);
    }
}
