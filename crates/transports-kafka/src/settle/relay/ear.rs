//! What the other nodes tell, on the tap's thread: it is passed on, and nothing is waited for.

use std::sync::{Arc, Weak};

use rdkafka::{Message as _, message::BorrowedMessage};
use tokio::sync::mpsc;

use super::listeners::Listeners;
use crate::{
    group::Groups,
    settle::record::{Record, Told},
    tap::Sink,
};

/// What the tap hands the records to.
pub(super) struct Ear {
    pub(super) node: u64,
    pub(super) listeners: Arc<Listeners>,
    pub(super) groups: Weak<Groups>,
    /// Where questions wait for their turn.
    pub(super) questions: mpsc::Sender<Record>,
}

impl Sink for Ear {
    fn take(&self, record: &BorrowedMessage<'_>) {
        let Some(record) = record.payload().and_then(Record::parse) else { return };
        let is_own = record.node == self.node;
        match &record.told {
            // Beyond what can wait, who asked will ask again.
            Told::Ask { .. } if !is_own => drop(self.questions.try_send(record)),
            Told::Answer { to, call, settled } if *to == self.node => {
                self.listeners.answered(*call, settled);
            }
            Told::Ask { .. } | Told::Answer { .. } => {}
            Told::TakeOver { event, holder } => {
                let Some(groups) = self.groups.upgrade() else { return };
                if let Some(crew) = groups.find(event, holder) {
                    if is_own { crew.settle_in(record.call) } else { crew.take_over() }
                }
                if is_own {
                    self.listeners.took_over(record.call);
                }
            }
        }
    }
}
