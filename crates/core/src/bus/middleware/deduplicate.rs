//! A handler runs once per message id, as far as this process remembers.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    Clock, DEFAULT_MAX_IDS, DedupWindow, MessageId, Result, SystemClock,
    bus::{Context, Failure, Handling, Layer, Service},
};

/// A layer that acks a message without handling it when one of its id was handled lately.
///
/// It catches what at-least-once brings again: a redelivery after a lost ack, a publisher's retry after the event's own
/// window. It remembers what this subscription handled in this process, no more: across processes a handler has to be
/// idempotent by itself. An id being handled makes its duplicate wait, so that neither is acked before one is done.
#[derive(Clone, Debug)]
pub struct Deduplicate {
    window: Duration,
    max_ids: usize,
    clock: Arc<dyn Clock>,
}

impl Deduplicate {
    /// Remembers ids this long, and at most [`DEFAULT_MAX_IDS`] of them.
    #[must_use]
    pub fn within(window: Duration) -> Self {
        Self { window, max_ids: DEFAULT_MAX_IDS, clock: SystemClock::shared() }
    }

    /// Remembers at most this many ids.
    #[must_use]
    pub const fn max_ids(mut self, max_ids: usize) -> Self {
        self.max_ids = max_ids;
        self
    }
}

impl<S> Layer<S> for Deduplicate {
    type Service = Deduplicated<S>;

    fn layer(&self, inner: S) -> Deduplicated<S> {
        let state = State { done: DedupWindow::new(self.window, self.max_ids), running: HashSet::new() };
        Deduplicated { clock: Arc::clone(&self.clock), state: Mutex::new(state), freed: Notify::new(), inner }
    }
}

/// A service that handles each id once: see [`Deduplicate`].
#[derive(Debug)]
pub struct Deduplicated<S> {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    freed: Notify,
    inner: S,
}

#[derive(Debug)]
struct State {
    done: DedupWindow,
    running: HashSet<MessageId>,
}

/// The right to handle an id; it ends however the handler does, a panic included.
struct Turn<'a, S> {
    of: &'a Deduplicated<S>,
    id: &'a MessageId,
}

impl<S> Deduplicated<S> {
    /// The right to handle `id`, once nobody else has it; `None` when that was done.
    async fn turn<'a>(&'a self, id: &'a MessageId) -> Option<Turn<'a, S>> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state.lock();
                if state.done.find(self.clock.now(), id).is_some() {
                    return None;
                }
                if state.running.insert(id.clone()) {
                    return Some(Turn { of: self, id });
                }
            }
            freed.await;
        }
    }
}

impl<S> Drop for Turn<'_, S> {
    fn drop(&mut self) {
        self.of.state.lock().running.remove(self.id);
        self.of.freed.notify_waiters();
    }
}

impl<S: Handling> Service<Context> for Deduplicated<S> {
    type Response = ();
    type Error = Failure;

    async fn call(&self, context: Context) -> Result<(), Failure> {
        let id = context.id().clone();
        let Some(_turn) = self.turn(&id).await else {
            tracing::debug!(event = %context.event(), %id, "handled before");
            return Ok(());
        };
        self.inner.call(context).await?;
        self.state.lock().done.remember(self.clock.now(), &id, 0);
        Ok(())
    }
}
