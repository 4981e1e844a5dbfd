//! The body of a stream's request: the session's frames, taken when the connection can send them.

use std::{
    array,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use busgate_wire::{
    convert::{self, ConsumeFrame},
    proto::event::v1::ConsumeRequest,
};
use futures_core::Stream;

use super::Shared;

/// The frames of one stream. What is settled while the connection is busy goes in one frame.
#[derive(Debug)]
pub(crate) struct Outbound {
    shared: Arc<Shared>,
    stream: u64,
    opening: array::IntoIter<ConsumeFrame, 2>,
}

impl Outbound {
    /// Begins a stream.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let (stream, opening) = shared.session.lock().opening();
        Self { shared: Arc::clone(shared), stream, opening: opening.into_iter() }
    }
}

impl Stream for Outbound {
    type Item = ConsumeRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(frame) = self.opening.next() {
            return Poll::Ready(Some(convert::consume_frame(frame)));
        }
        let frame = {
            let mut session = self.shared.session.lock();
            if !session.is_current(self.stream) {
                return Poll::Ready(None);
            }
            // Before the look: whoever queues a frame after it wakes this one.
            self.shared.body.register(cx.waker());
            session.next_frame()
        };
        match frame {
            Some(frame) => Poll::Ready(Some(convert::consume_frame(frame))),
            None => Poll::Pending,
        }
    }
}
