//! A running subscription: its workers, its settler, and how they come to an end.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Handling, SubscriberState, lanes::Lanes, settler, stats::Counters, subscribe::OnGap, worker};
use crate::{
    Capabilities, EventName, LeaseToken, Settlement, SubscribeOptions, Subscription, Tasks, Transport, Verb,
};

/// How many settlements may wait for the one under way.
const SETTLE_QUEUE: usize = 1024;

/// How long a transport may take to settle what is left when a deadline has passed.
const LAST_SETTLE: Duration = Duration::from_secs(5);

/// What a subscription was asked for.
pub(super) struct Plan {
    pub(super) options: SubscribeOptions,
    pub(super) concurrency: usize,
    pub(super) extend: bool,
    pub(super) on_gap: Option<OnGap>,
}

/// The owner of a subscription's tasks.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) shared: Arc<Shared>,
    workers: Tasks,
    settler: Tasks,
}

/// What the tasks of one subscription share.
pub(super) struct Shared {
    pub(super) event: EventName,
    pub(super) transport: Arc<dyn Transport>,
    /// Gone as soon as nothing more shall be taken: what was read ahead returns at once.
    pub(super) source: AsyncMutex<Option<Subscription>>,
    pub(super) stop: CancellationToken,
    pub(super) state: watch::Sender<SubscriberState>,
    pub(super) counters: Counters,
    pub(super) on_gap: Option<OnGap>,
    /// How long a lease runs, where they are extended.
    pub(super) extend: Option<Duration>,
    /// Where the transport does not keep a key's messages apart.
    pub(super) lanes: Option<Lanes>,
    /// The lease in each worker's hand.
    ///
    /// Invariant: a token is settled by whoever takes it out of its hand, once: the worker when its handler is done,
    /// or the deadline. (`close_returns_the_rest_uncounted`)
    pub(super) hands: Vec<Mutex<Option<LeaseToken>>>,
}

impl Live {
    pub(super) fn start<S: Handling + 'static>(
        transport: Arc<dyn Transport>,
        event: EventName,
        plan: Plan,
        subscription: Subscription,
        service: S,
    ) -> Arc<Self> {
        let (settle, settlements) = mpsc::channel(SETTLE_QUEUE);
        let shared = Arc::new(Shared::new(transport, event, plan, subscription));
        let live = Self { shared, workers: Tasks::new(), settler: Tasks::new() };
        let service = Arc::new(service);
        for hand in 0..live.shared.hands.len() {
            let (shared, service) = (Arc::clone(&live.shared), Arc::clone(&service));
            live.workers.spawn(worker::run(shared, hand, service, settle.clone()));
        }
        live.settler.spawn(settler::run(Arc::clone(&live.shared), settlements));
        Arc::new(live)
    }

    /// Takes nothing more.
    pub(super) fn stop(&self) {
        self.shared.stop.cancel();
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(*self.shared.state.borrow(), SubscriberState::Ended(_))
    }

    /// Stops, and waits for what is in hand; at the deadline that goes back, uncounted.
    pub(super) async fn finish(&self, deadline: Option<Instant>) {
        self.stop();
        let Some(deadline) = deadline else { return self.shared.over().await };
        if timeout_at(deadline, self.shared.over()).await.is_ok() {
            return;
        }
        self.workers.close().await;
        let left = self.shared.give_back();
        let (event, count) = (&self.shared.event, left.len());
        tracing::warn!(%event, count, "handlers still running at the deadline: their messages go back");
        let last = async {
            self.shared.transport.settle(left).await;
            self.shared.over().await;
        };
        if timeout(LAST_SETTLE, last).await.is_err() {
            tracing::warn!(%event, "the transport did not settle in time: messages come back as their leases run out");
            self.settler.close().await;
        }
    }
}

impl Shared {
    fn new(transport: Arc<dyn Transport>, event: EventName, plan: Plan, subscription: Subscription) -> Self {
        let Plan { options, concurrency, extend, on_gap } = plan;
        let Capabilities { extend: can_extend, .. } = transport.capabilities();
        let leased = options.mode.holder().is_some();
        Self {
            event,
            transport,
            source: AsyncMutex::new(Some(subscription)),
            stop: CancellationToken::new(),
            state: watch::Sender::new(SubscriberState::Running),
            counters: Counters::default(),
            on_gap,
            extend: (leased && extend && can_extend).then_some(options.retry.ack_wait),
            lanes: (!leased && concurrency > 1).then(|| Lanes::new(options.max_in_flight)),
            hands: std::iter::repeat_with(Mutex::default).take(concurrency).collect(),
        }
    }

    /// What is still in hand, to be released.
    fn give_back(&self) -> Vec<Settlement> {
        let tokens = self.hands.iter().filter_map(|hand| hand.lock().take());
        tokens.map(|token| Settlement { token, verb: Verb::Release { counted: false } }).collect()
    }

    /// Resolves when all is settled and nothing runs any more.
    pub(super) async fn over(&self) {
        let mut state = self.state.subscribe();
        // The sender is `self`, so that there is no error to wait for.
        let _ = state.wait_for(|state| matches!(state, SubscriberState::Ended(_))).await;
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("event", &self.event)
            .field("state", &*self.state.borrow())
            .field("concurrency", &self.hands.len())
            .finish_non_exhaustive()
    }
}
