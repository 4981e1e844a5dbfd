//! What a typed subscription asks for.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use super::{
    Boxed, Codec, Context, Decode, Event, Failure, Handling, Identity, Layer, Stack, Subscriber, Typed,
    inner::Inner,
    live::{Live, Plan},
};
use crate::{
    ConsumerName, DEFAULT_MAX_IN_FLIGHT, Error, EventName, Gap, GroupName, Mode, Result, RetryPolicy, Start,
    SubscribeOptions,
};

/// The most messages one subscription handles at a time.
pub const MAX_CONCURRENCY: usize = 1024;

/// What is done about messages that can't be had any more.
pub(super) type OnGap = Arc<dyn Fn(&Gap) + Send + Sync>;

/// A subscription that has no handler yet: unnamed broadcast from now on, one message at a time, unless told otherwise.
#[must_use = "nothing is subscribed to until there is a handler"]
pub struct Subscribe<T, C, L = Identity> {
    event: Event<T, C>,
    mode: Result<Mode>,
    start: Option<Start>,
    retry: RetryPolicy,
    max_in_flight: usize,
    concurrency: usize,
    extend: bool,
    on_gap: Option<OnGap>,
    layer: L,
}

impl<T, C: Codec> Subscribe<T, C> {
    pub(super) fn new(event: &Event<T, C>) -> Self {
        Self {
            event: event.clone(),
            mode: Ok(Mode::Broadcast { consumer: None }),
            start: None,
            retry: event.inner.retry.clone(),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            concurrency: 1,
            extend: true,
            on_gap: None,
            layer: Identity,
        }
    }
}

impl<T, C: Codec, L> Subscribe<T, C, L> {
    /// As a member of a worker group: each message goes to one member, and comes back until it is done. A new group
    /// starts at the beginning.
    pub fn group(mut self, name: impl AsRef<str>) -> Self {
        self.mode = GroupName::new(name).map(|group| Mode::WorkerPool { group });
        self
    }

    /// As a named consumer: it gets every message, and goes on where it was.
    pub fn consumer(mut self, name: impl AsRef<str>) -> Self {
        self.mode = ConsumerName::new(name).map(|consumer| Mode::Broadcast { consumer: Some(consumer) });
        self
    }

    /// Where it starts, if its group or consumer is new. By default a group starts at the beginning, others with the
    /// next message.
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// How many messages are handled at a time, each on a task of its own; 1 (the default) to [`MAX_CONCURRENCY`].
    ///
    /// Messages of one key are handled one after the other, whatever the concurrency; others in no order above 1.
    pub fn concurrency(mut self, limit: usize) -> Self {
        self.concurrency = limit;
        self
    }

    /// How many messages the subscription may have from the transport, unsettled; at least its concurrency.
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages;
        self
    }

    /// How long a message is this subscription's alone. While its handler runs, it is extended.
    pub fn ack_wait(mut self, wait: Duration) -> Self {
        self.retry.ack_wait = wait;
        self
    }

    /// How often a message is delivered before it goes to the dead letters.
    pub fn max_deliver(mut self, attempts: u32) -> Self {
        self.retry.max_deliver = attempts;
        self
    }

    /// After how long a failed message comes back: the first, second, … time; the last repeats.
    pub fn backoff(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        self.retry.backoff = delays.into_iter().collect();
        self
    }

    /// Whether a lease is extended while its handler runs (the default, where the transport can). Else what takes
    /// longer than `ack_wait` is delivered again meanwhile.
    pub fn extend_leases(mut self, extend: bool) -> Self {
        self.extend = extend;
        self
    }

    /// Tells of messages that can't be had any more; without this they are only logged.
    pub fn on_gap(mut self, tell: impl Fn(&Gap) + Send + Sync + 'static) -> Self {
        self.on_gap = Some(Arc::new(tell));
        self
    }

    /// Puts a layer around the handler. The layer added first is the outermost: `.layer(Timeout…).layer(Retry…)` bounds
    /// all attempts together, the other way round each of them.
    pub fn layer<M>(self, layer: M) -> Subscribe<T, C, Stack<L, M>> {
        let Self { event, mode, start, retry, max_in_flight, concurrency, extend, on_gap, layer: outer } =
            self;
        let layer = Stack::new(outer, layer);
        Subscribe { event, mode, start, retry, max_in_flight, concurrency, extend, on_gap, layer }
    }

    /// Subscribes, and handles each message with `handler` until the [`Subscriber`] is stopped.
    ///
    /// `Ok` acks. `Err` gives the message back, rejects it or has it come back later: see [`Failure`]. A payload that
    /// does not decode is rejected, and a handler that panics has failed. On an unnamed broadcast nothing comes back:
    /// failures are logged and counted.
    ///
    /// # Errors
    /// `invalid` for a bad name or figure, `unavailable` when the bus is closed, and what
    /// [`Transport::subscribe`](crate::Transport::subscribe) answers.
    pub async fn handle<F, Fut>(self, handler: F) -> Result<Subscriber>
    where
        T: Send + 'static,
        C: Decode<T>,
        F: Fn(T, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send,
        L: Layer<Typed<T, C, F>, Service: Handling + 'static>,
    {
        let plan = self.plan()?;
        let Self { event, layer, .. } = self;
        let service = layer.layer(Typed::new(Arc::clone(&event.codec), handler));
        let Event { inner, name, .. } = event;
        if inner.handling.is_empty() {
            return start(inner, name, plan, service).await;
        }
        let service = inner.handling.iter().fold(Boxed::new(service), |service, wrap| wrap(service));
        start(inner, name, plan, service).await
    }

    fn plan(&self) -> Result<Plan> {
        let mode = self.mode.clone()?;
        if self.concurrency == 0 || self.concurrency > MAX_CONCURRENCY {
            return Err(Error::invalid(format!("concurrency must be 1 to {MAX_CONCURRENCY}")));
        }
        if self.max_in_flight < self.concurrency {
            return Err(Error::invalid("max_in_flight must be at least the concurrency"));
        }
        let start = self.start.clone().unwrap_or(match mode {
            Mode::WorkerPool { .. } => Start::Beginning,
            Mode::Broadcast { .. } => Start::Latest,
        });
        let options =
            SubscribeOptions { mode, start, retry: self.retry.clone(), max_in_flight: self.max_in_flight };
        options.validate()?;
        let (concurrency, extend) = (self.concurrency, self.extend);
        Ok(Plan { options, concurrency, extend, on_gap: self.on_gap.clone() })
    }
}

/// Subscribes at the transport and puts the workers to work.
async fn start<S: Handling + 'static>(
    inner: Arc<Inner>,
    event: EventName,
    plan: Plan,
    service: S,
) -> Result<Subscriber> {
    inner.refuse_if_closing()?;
    let subscription = Arc::clone(&inner.transport).subscribe(&event, plan.options.clone()).await?;
    let live = Live::start(Arc::clone(&inner.transport), event, plan, subscription, service);
    inner.keep(&live)?;
    Ok(Subscriber::new(inner, live))
}

impl<T, C: fmt::Debug, L> fmt::Debug for Subscribe<T, C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("event", &self.event)
            .field("mode", &self.mode)
            .field("start", &self.start)
            .field("retry", &self.retry)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}
