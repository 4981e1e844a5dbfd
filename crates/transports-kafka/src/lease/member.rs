//! A member of a group, or a named consumer: one lease at a time, straight from the group.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use busgate_core::{Item, Result, Transport};
use futures_core::Stream;

use crate::group::{Crew, Found};

/// One subscription with leases. Dropping it unsubscribes; its leases run on.
#[derive(Debug)]
pub(crate) struct Member {
    crew: Arc<Crew>,
    transport: Arc<dyn Transport>,
    serial: u64,
    has_ended: bool,
}

impl Member {
    pub(crate) fn new(crew: Arc<Crew>, transport: Arc<dyn Transport>, serial: u64) -> Self {
        Self { crew, transport, serial, has_ended: false }
    }
}

impl Stream for Member {
    type Item = Result<Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        match self.crew.look(self.serial, &self.transport, cx) {
            Found::Item(item) => Poll::Ready(Some(item)),
            Found::Nothing => Poll::Pending,
            Found::End(error) => {
                self.has_ended = true;
                Poll::Ready(error.map(Err))
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crew.leave(self.serial);
    }
}
