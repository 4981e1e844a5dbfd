//! Taking turns: publishes of one publisher that are under way together, and keep their order.

use std::{pin::pin, sync::Arc, task::Poll};

use tokio::sync::oneshot;

/// A publisher's turn: whose messages come later waits until every clone of it is dropped.
///
/// A call lets go of its turn as soon as its messages have their place, long before they are as durable as they get; a
/// call that is dropped lets go as well.
#[derive(Clone, Debug)]
pub struct Turn {
    _held: Option<Arc<oneshot::Sender<()>>>,
}

impl Turn {
    /// A turn, and what resolves when it is over.
    #[must_use]
    pub fn begin() -> (Self, Next) {
        let (held, over) = oneshot::channel();
        (Self { _held: Some(Arc::new(held)) }, Next(over))
    }

    /// The turn of a publisher that waits for its answers before it goes on.
    #[must_use]
    pub const fn alone() -> Self {
        Self { _held: None }
    }

    /// Does `work`, whose place is taken when it first has to wait, and lets go of the turn then.
    pub async fn until_pending<F: Future>(self, work: F) -> F::Output {
        let mut work = pin!(work);
        if let Poll::Ready(done) = futures_util::poll!(&mut work) {
            return done;
        }
        drop(self);
        work.await
    }
}

/// Waits for the end of a turn.
#[derive(Debug)]
pub struct Next(oneshot::Receiver<()>);

impl Next {
    /// Resolves when the turn is over. Cancel-safe.
    pub async fn is_mine(&mut self) {
        // Nothing is ever sent: what counts is that nobody is left who could.
        _ = (&mut self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn it_is_over_when_the_last_clone_is_gone() {
        let (turn, mut next) = Turn::begin();
        let clone = turn.clone();
        drop(turn);
        assert!(next.is_mine().now_or_never().is_none());
        drop(clone);
        assert!(next.is_mine().now_or_never().is_some());
    }
}
