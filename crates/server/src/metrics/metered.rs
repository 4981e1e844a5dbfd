//! The transport, with its calls measured: how they ended, how long they took, how much went at once.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI8, Ordering},
    },
};

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, ErrorKind, EventConfig, EventInfo, EventName, Health, HealthStatus,
    Message, Page, Passed, ReadRequest, Receipt, Result, Retry, Settled, Settlement, SubscribeOptions,
    Subscription, Transport, Turn,
};
use futures_util::StreamExt;
use metrics::{Counter, Gauge, Histogram, Key, Label, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;
use tokio::time::Instant;

use super::{METADATA, outcomes::Outcomes};

/// How many messages or settlements went at once.
pub(super) const BATCH: &str = "busgate_transport_batch";

const CALLS: &str = "busgate_transport_calls_total";
const SECONDS: &str = "busgate_transport_seconds";
const INTERRUPTIONS: &str = "busgate_transport_interruptions_total";
const UP: &str = "busgate_transport_up";

/// Says what all of it is.
pub(super) fn describe(recorder: &PrometheusRecorder) {
    let text = |about: &'static str| SharedString::const_str(about);
    let calls =
        "calls of the transport, by operation and outcome; what nobody waited for any longer is a timeout";
    recorder.describe_counter(CALLS.into(), None, text(calls));
    let interruptions = "subscriptions that the transport broke off";
    recorder.describe_counter(INTERRUPTIONS.into(), None, text(interruptions));
    let seconds = "how long the transport took to answer";
    recorder.describe_histogram(SECONDS.into(), Some(Unit::Seconds), text(seconds));
    recorder.describe_histogram(BATCH.into(), None, text("messages or settlements of one call"));
    let up = "1 when the last probe of the transport came through, 0 when it did not";
    recorder.describe_gauge(UP.into(), None, text(up));
}

/// What the last probe found.
pub(super) struct Reach {
    gauge: Gauge,
    /// 1 or 0, and less while there has been no probe.
    found: AtomicI8,
}

impl Reach {
    /// Sets the gauge, when there has been a probe.
    pub(super) fn show(&self) {
        match self.found.load(Ordering::Relaxed) {
            found if found < 0 => {}
            found => self.gauge.set(f64::from(found)),
        }
    }

    fn found(&self, reached: bool) {
        self.found.store(i8::from(reached), Ordering::Relaxed);
    }
}

/// A call under way. Dropped before it is answered it counts as a timeout: nobody waited for it any longer.
struct Call<'a> {
    outcomes: &'a Outcomes,
    started: Instant,
    answered: bool,
}

impl<'a> Call<'a> {
    fn start(outcomes: &'a Outcomes) -> Self {
        Self { outcomes, started: Instant::now(), answered: false }
    }

    fn answered(mut self, failed: Option<ErrorKind>) {
        self.answered = true;
        self.outcomes.observe(failed, self.started.elapsed());
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.outcomes.observe(Some(ErrorKind::Timeout), self.started.elapsed());
        }
    }
}

/// A probe under way. One that nobody waited for any longer did not come through.
struct Probe<'a> {
    reach: &'a Reach,
    reached: bool,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.reach.found(self.reached);
    }
}

/// A transport whose calls are measured.
pub(super) struct Metered {
    inner: Arc<dyn Transport>,
    publish: Outcomes,
    settle: Outcomes,
    read: Outcomes,
    subscribe: Outcomes,
    health: Outcomes,
    published: Histogram,
    settled: Histogram,
    interruptions: Arc<Interruptions>,
    reach: Arc<Reach>,
}

/// Counts the subscriptions that ended otherwise than by the event's or the client's doing.
struct Interruptions(Counter);

impl Metered {
    /// Measures `inner` under the name of its kind.
    pub(super) fn new(
        inner: Arc<dyn Transport>,
        kind: &'static str,
        recorder: &PrometheusRecorder,
    ) -> (Arc<Self>, Arc<Reach>) {
        let transport = Label::from_static_parts("transport", kind);
        let labels =
            |operation: &'static str| [transport.clone(), Label::from_static_parts("operation", operation)];
        let calls = |operation: &'static str| Outcomes::new(recorder, [CALLS, SECONDS], &labels(operation));
        let batch = |operation: &'static str| {
            recorder.register_histogram(&Key::from_parts(BATCH, labels(operation).to_vec()), &METADATA)
        };
        let interruptions = Key::from_parts(INTERRUPTIONS, vec![transport.clone()]);
        let up = Key::from_parts(UP, vec![transport.clone()]);
        let reach = Reach { gauge: recorder.register_gauge(&up, &METADATA), found: AtomicI8::new(-1) };
        let reach = Arc::new(reach);
        let metered = Self {
            inner,
            publish: calls("publish"),
            settle: calls("settle"),
            read: calls("read"),
            subscribe: calls("subscribe"),
            health: calls("health"),
            published: batch("publish"),
            settled: batch("settle"),
            interruptions: Arc::new(Interruptions(recorder.register_counter(&interruptions, &METADATA))),
            reach: Arc::clone(&reach),
        };
        (Arc::new(metered), reach)
    }
}

/// What went wrong, if anything did: of a batch the first.
fn failure<'a, T: 'a>(answers: impl IntoIterator<Item = &'a Result<T>>) -> Option<ErrorKind> {
    answers.into_iter().find_map(|answer| answer.as_ref().err()).map(busgate_core::Error::kind)
}

#[allow(clippy::cast_precision_loss, reason = "a histogram takes floats")]
const fn size(count: usize) -> f64 {
    count as f64
}

#[async_trait]
impl Transport for Metered {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        self.inner.register(event, config).await
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        self.inner.unregister(event).await
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.inner.events().await
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        self.published.record(size(batch.len()));
        let call = Call::start(&self.publish);
        let answers = self.inner.publish_in_turn(event, batch, turn).await;
        call.answered(failure(&answers));
        answers
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        let call = Call::start(&self.subscribe);
        let subscription = Arc::clone(&self.inner).subscribe(event, options).await;
        call.answered(failure([&subscription]));
        let interruptions = Arc::clone(&self.interruptions);
        let watch = move |item: &Result<_>| {
            if item.as_ref().is_err_and(|error| error.retry() != Retry::Never) {
                interruptions.0.increment(1);
            }
        };
        subscription.map(|items| Subscription::new(items.inspect(watch)))
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        let call = Call::start(&self.read);
        let page = self.inner.read(event, request).await;
        call.answered(failure([&page]));
        page
    }

    async fn find(&self, event: &EventName, place: &Cursor) -> Result<Option<Arc<Message>>> {
        self.inner.find(event, place).await
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        self.inner.passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        self.settled.record(size(batch.len()));
        let call = Call::start(&self.settle);
        let answers = self.inner.settle(batch).await;
        call.answered(failure(&answers));
        answers
    }

    async fn health(&self) -> Health {
        let (call, mut probe) = (Call::start(&self.health), Probe { reach: &self.reach, reached: false });
        let health = self.inner.health().await;
        probe.reached = health.status != HealthStatus::Unhealthy;
        call.answered((!probe.reached).then_some(ErrorKind::Unavailable));
        health
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        self.inner.lag(event).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("found", &self.found).finish_non_exhaustive()
    }
}
