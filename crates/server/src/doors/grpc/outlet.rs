//! A session on its way into an HTTP/2 stream.

use std::{future::poll_fn, task::Poll};

use busgate_core::{Outgoing, Session};
use busgate_wire::codec::YIELD_BYTES;

/// A session whose items go into tonic's encoder.
///
/// The encoder gathers what comes without waiting and hands it to the connection when the stream is pending or its
/// buffer is full; the connection asks for more only when it can send. So what was yielded before such a point has been
/// handed off when the stream is polled after it, and not earlier.
#[derive(Debug)]
pub(super) struct Outlet {
    session: Session,
    unsent: usize,
}

impl Outlet {
    pub(super) fn new(session: Session) -> Self {
        Self { session, unsent: 0 }
    }

    /// The next item. Cancel-safe.
    pub(super) async fn next(&mut self) -> Outgoing {
        if self.unsent > 0 {
            if self.unsent < YIELD_BYTES {
                if let Some(outgoing) = self.session.try_next() {
                    return outgoing;
                }
                once_pending().await;
            }
            self.unsent = 0;
        }
        self.session.next().await
    }

    /// Says that an item was encoded in this many bytes.
    pub(super) fn encoded(&mut self, bytes: usize) {
        self.unsent += bytes;
    }

    /// The client goes, and keeps what it has.
    pub(super) fn leave(&mut self) {
        self.session.leave();
    }

    /// While paused the session yields no messages.
    pub(super) fn pause(&mut self, paused: bool) {
        self.session.pause(paused);
    }
}

/// Pending once, to be polled again as soon as the connection can send.
async fn once_pending() {
    let mut pending = true;
    poll_fn(|context| {
        if std::mem::take(&mut pending) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}
