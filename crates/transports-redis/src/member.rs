//! A member of a group, or a named consumer, as the stream its subscriber reads.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use busgate_core::{Delivery, Item, LeaseToken, Result, Transport};
use futures_core::Stream;

use crate::{
    crew::{self, Crew, End, Taken},
    ear::Listening,
    lease::Token,
};

/// One subscription with leases.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) crew: Arc<Crew>,
    pub(crate) serial: u64,
    pub(crate) ended: bool,
    pub(crate) _listening: Listening,
}

impl Member {
    fn delivery(&self, taken: Taken, life: u64) -> Result<Item> {
        let token = Token { life, entry: taken.id };
        let token = LeaseToken {
            event: self.crew.topic.name.clone(),
            holder: self.crew.holder.clone(),
            entry: token.to_bytes(),
            epoch: taken.epoch,
        };
        let cursor = self.crew.topic.cursor(life, taken.id)?;
        let transport = Arc::clone(&self.transport);
        Ok(Item::Delivery(Delivery::leased(token, taken.message, cursor, taken.attempt, transport)))
    }
}

impl Stream for Member {
    type Item = Result<Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.crew.poll(self.serial, cx.waker()) {
            crew::Poll::Pending => Poll::Pending,
            crew::Poll::Gap(gap) => Poll::Ready(Some(Ok(Item::Gap(gap)))),
            crew::Poll::Taken(taken, life) => Poll::Ready(Some(self.delivery(taken, life))),
            crew::Poll::Ended(end) => {
                self.ended = true;
                Poll::Ready(match end {
                    End::Unregistered => None,
                    End::Failed(error) => Some(Err(error)),
                })
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crew.leave(self.serial);
    }
}
