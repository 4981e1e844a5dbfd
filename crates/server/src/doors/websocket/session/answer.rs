//! What a conversation answers: each frame of the client that has a `ref`, and each that fails.

use busgate_core::{Error, ErrorKind, Receipt, Result, SettleAnswer};
use busgate_wire::frame::{ErrorFrame, Outcome, ServerFrame};
use bytes::Bytes;

use super::Session;
use crate::doors::websocket::{backlog::Settle, frame::Opcode};

impl Session {
    /// Answers a frame that settled, each entry of it or the whole.
    pub(in crate::doors::websocket) fn settled(&mut self, frame: Settle, result: Result<Vec<SettleAnswer>>) {
        let ack_ids = frame.entries.into_iter().map(|entry| entry.ack_id);
        match (result, frame.reference) {
            (Ok(answers), Some(reference)) => {
                let outcome = Outcome::Settled(ack_ids.zip(answers).collect());
                self.answer(&ServerFrame::Ok { reference, outcome });
            }
            (Ok(answers), None) => {
                for (ack_id, answer) in ack_ids.zip(&answers) {
                    if let Some(unsettled) = ErrorFrame::unsettled(&ack_id, answer) {
                        self.answer(&ServerFrame::Error(unsettled));
                    }
                }
            }
            (Err(error), reference) => {
                let mut ack_ids = ack_ids;
                let only = ack_ids.next().filter(|_| ack_ids.next().is_none());
                self.refuse_with(ErrorFrame { ack_id: only, ..ErrorFrame::answer(reference, error) });
            }
        }
    }

    /// Answers a frame that published.
    pub(in crate::doors::websocket) fn published(
        &mut self,
        reference: Option<String>,
        result: Result<Receipt>,
    ) {
        match result {
            Ok(receipt) => self.accept(reference, Outcome::Published(receipt)),
            Err(error) => self.refuse(reference, error),
        }
    }

    /// Answers a frame that subscribed.
    pub(in crate::doors::websocket) fn subscribed(&mut self, sub: String, result: Result<()>) {
        match result {
            Ok(()) => self.accept(Some(sub), Outcome::Done),
            Err(error) => {
                self.subs.remove(&sub);
                self.refuse(Some(sub), error);
            }
        }
    }

    /// Answers a frame that unsubscribed; whether there was such a subscription.
    pub(in crate::doors::websocket) fn unsubscribed(&mut self, reference: Option<String>, sub: &str) -> bool {
        let known = self.subs.remove(sub);
        if known {
            self.accept(reference, Outcome::Done);
        } else {
            self.refuse(reference, Error::not_found("there is no such subscription on this socket"));
        }
        known
    }

    pub(super) fn accept(&mut self, reference: Option<String>, outcome: Outcome) {
        if let Some(reference) = reference {
            self.answer(&ServerFrame::Ok { reference, outcome });
        }
    }

    pub(super) fn refuse(&mut self, reference: Option<String>, error: Error) {
        self.refuse_with(ErrorFrame::answer(reference, error));
    }

    pub(super) fn refuse_with(&mut self, mut frame: ErrorFrame) {
        if frame.error.kind() == ErrorKind::Internal {
            let request_id = self.request_id.as_deref();
            let source = std::error::Error::source(&frame.error).map(ToString::to_string);
            tracing::error!(request_id, error = %frame.error, source, "a frame failed");
            frame.request_id = request_id.map(Into::into);
        }
        self.answer(&ServerFrame::Error(frame));
    }

    fn answer(&mut self, frame: &ServerFrame) {
        let payload = self.dialect.write(frame);
        self.answer_with(self.dialect.opcode(), payload);
    }

    pub(super) fn answer_with(&mut self, opcode: Opcode, payload: Bytes) {
        let before = self.outbox.bytes();
        self.outbox.push(opcode, [payload]);
        self.answer_bytes += self.outbox.bytes() - before;
    }

    pub(super) fn say(&mut self, frame: &ServerFrame) {
        self.spoke = true;
        self.outbox.push(self.dialect.opcode(), [self.dialect.write(frame)]);
    }
}
