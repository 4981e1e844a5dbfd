//! One worker of a subscription: takes a message, has it handled, says what became of it.

use std::{
    any::Any, future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::poll_fn};
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{Context, Failure, Handling, SubscriberState, Verdict, live::Shared, stats::count};
use crate::{Delivery, Error, Gap, Item, Settlement, Verb};

/// A lease is extended this many times before it would run out, so that one extension may get lost.
const EXTENSIONS_PER_LEASE: u32 = 3;

/// Works until the subscription is stopped or ends.
pub(super) async fn run<S: Handling>(
    shared: Arc<Shared>,
    hand: usize,
    service: Arc<S>,
    settle: Sender<Settlement>,
) {
    let worker = Worker { shared: &shared, hand, service: &*service, settle };
    while let Some(delivery) = worker.take().await {
        let Some(lanes) = &shared.lanes else {
            worker.handle(delivery).await;
            continue;
        };
        let mut next = lanes.enter(delivery);
        while let Some(delivery) = next {
            let key = delivery.message.key.clone();
            worker.handle(delivery).await;
            next = key.and_then(|key| lanes.leave(&key)).filter(|_| !shared.stop.is_cancelled());
        }
    }
}

struct Worker<'a, S> {
    shared: &'a Shared,
    hand: usize,
    service: &'a S,
    settle: Sender<Settlement>,
}

impl<S: Handling> Worker<'_, S> {
    /// The next delivery; `None` when there will be none.
    async fn take(&self) -> Option<Delivery> {
        let next = async {
            if let Some(lanes) = &self.shared.lanes {
                lanes.room().await;
            }
            let mut source = self.shared.source.lock().await;
            loop {
                match source.as_mut()?.next().await {
                    Some(Ok(Item::Delivery(delivery))) => return Some(delivery),
                    Some(Ok(Item::Gap(gap))) => self.shared.note(&gap),
                    Some(Err(error)) => {
                        *source = None;
                        self.shared.end(Some(error));
                    }
                    None => {
                        *source = None;
                        self.shared.end(None);
                    }
                }
            }
        };
        if self.shared.stop.is_cancelled() {
            return None;
        }
        // What is there at once does not look at the stop.
        tokio::select! {
            biased;
            delivery = next => delivery,
            () = self.shared.stop.cancelled() => None,
        }
    }

    async fn handle(&self, delivery: Delivery) {
        let context = Context::from(&delivery);
        let Some(hand) = self.shared.hands.get(self.hand) else { return };
        *hand.lock() = delivery.into_token();
        let call = AssertUnwindSafe(async { self.service.call(context.clone()).await }).catch_unwind();
        let result = self.attend(call).await.unwrap_or_else(|panic| {
            count(&self.shared.counters.panicked);
            Err(Failure::retry(format!("the handler panicked: {}", said(&*panic))))
        });
        self.shared.tell(&context, result.as_ref());
        let Some(token) = hand.lock().take() else { return };
        let verb = result.map_or_else(Failure::into_verb, |()| Verb::Ack);
        // The settler outlives the workers.
        let _ = self.settle.send(Settlement { token, verb }).await;
    }

    /// Waits for the handler, and keeps its lease alive meanwhile.
    async fn attend<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        // Most handlers that take no time need no timer.
        if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
            return result;
        }
        let Some(lease) = self.shared.extend else { return call.await };
        let every = (lease / EXTENSIONS_PER_LEASE).max(Duration::from_millis(1));
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                result = &mut call => return result,
                _ = ticks.tick() => self.extend(lease),
            }
        }
    }

    fn extend(&self, lease: Duration) {
        let token = self.shared.hands.get(self.hand).and_then(|hand| hand.lock().clone());
        if let Some(token) = token {
            // With the queue full the next tick tries again.
            let _ = self.settle.try_send(Settlement { token, verb: Verb::Extend(lease) });
        }
    }
}

impl Shared {
    /// Nothing more comes, because of `error` or because the event was unregistered.
    fn end(&self, error: Option<Error>) {
        if let Some(error) = &error {
            tracing::warn!(event = %self.event, kind = %error.kind(), %error, "subscription ended");
        }
        self.state.send_if_modified(|state| {
            let first = matches!(state, SubscriberState::Running);
            if first {
                *state = SubscriberState::Stopping(error);
            }
            first
        });
        self.stop.cancel();
    }

    fn note(&self, gap: &Gap) {
        count(&self.counters.gaps);
        tracing::warn!(event = %self.event, missed = gap.missed, "messages can't be had any more");
        if let Some(tell) = &self.on_gap {
            tell(gap);
        }
    }

    fn tell(&self, context: &Context, result: Result<&(), &Failure>) {
        let failure = match result {
            Ok(()) => return count(&self.counters.handled),
            Err(failure) => failure,
        };
        let rejected = failure.verdict() == Verdict::Reject;
        count(if rejected { &self.counters.rejected } else { &self.counters.failed });
        tracing::warn!(
            event = %self.event,
            id = %context.id(),
            attempt = context.attempt(),
            rejected,
            error = failure.text(),
            "message not handled"
        );
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}
