//! A stream of deliveries and notices.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use futures_util::StreamExt;

use crate::{Cursor, Delivery, Result};

/// What a subscription yields.
#[derive(Debug)]
pub enum Item {
    /// A message. Its lease, if it has one, starts when it is yielded.
    Delivery(Delivery),
    /// Messages that can't be had any more.
    Gap(Gap),
}

/// Messages that were asked for and can't be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many, if known.
    pub missed: Option<u64>,
    /// Where delivery goes on: the next message comes after this cursor. `None` when nothing is held at all.
    pub cursor: Option<Cursor>,
}

/// A stream of [`Item`]s.
///
/// It is cancel-safe: dropping a pending `next` loses nothing. Dropping the subscription unsubscribes; what it has not
/// settled stays leased until it is settled by token or the lease runs out, and what it has read ahead returns at once,
/// uncounted. An `Err` is the last item. The end without one means that the event was unregistered, and stays the end.
pub struct Subscription(Pin<Box<dyn Stream<Item = Result<Item>> + Send>>);

impl Subscription {
    /// Wraps a transport's stream.
    #[must_use]
    pub fn new(stream: impl Stream<Item = Result<Item>> + Send + 'static) -> Self {
        Self(Box::pin(stream.fuse()))
    }
}

impl Stream for Subscription {
    type Item = Result<Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::Error;

    #[tokio::test]
    async fn the_end_stays_the_end() {
        let once = stream::unfold(Some(()), |left| async move {
            left?;
            Some((Err(Error::unavailable("gone")), None))
        });
        let mut subscription = Subscription::new(once);
        assert!(matches!(subscription.next().await, Some(Err(_))));
        for _ in 0..3 {
            assert!(subscription.next().await.is_none());
        }
    }
}
