//! How far groups and named consumers are, asked of the transport when somebody looks.

use std::{fmt, sync::Arc, time::Duration};

use busgate_core::{ConsumerLag, EventName, Holder, Transport};
use metrics::{Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;
use tokio::{sync::Mutex, time::Instant};

use super::METADATA;

/// How long an answer is good for, so that many who look cost no more than one.
const FRESH: Duration = Duration::from_secs(5);

/// How long the transport may take for all of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most events that are asked about; more would make one look too dear.
const MOST_EVENTS: usize = 200;

pub(super) struct Lag {
    transport: Arc<dyn Transport>,
    measured: Mutex<Option<Instant>>,
}

impl Lag {
    pub(super) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, measured: Mutex::const_new(None) }
    }

    /// Sets the gauges, unless they were set just now. A transport that does not answer leaves them as they are.
    pub(super) async fn measure(&self, recorder: &PrometheusRecorder) {
        let mut measured = self.measured.lock().await;
        if measured.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        *measured = Some(Instant::now());
        if tokio::time::timeout(PATIENCE, self.ask(recorder)).await.is_err() {
            tracing::warn!("the transport did not answer in time how far consumers are");
        }
    }

    async fn ask(&self, recorder: &PrometheusRecorder) {
        let Ok(events) = self.transport.events().await else { return };
        for event in events.into_iter().filter(|event| !event.name.is_hidden()).take(MOST_EVENTS) {
            for lag in self.transport.lag(&event.name).await.unwrap_or_default() {
                set(recorder, &event.name, &lag);
            }
        }
    }
}

fn set(recorder: &PrometheusRecorder, event: &EventName, lag: &ConsumerLag) {
    let (role, name) = match &lag.holder {
        Holder::Group(name) => ("group", name.as_str()),
        Holder::Consumer(name) => ("consumer", name.as_str()),
    };
    let gauge = |metric: &'static str, count: u64| {
        let labels = vec![Label::new("event", event.to_string()), Label::new(role, name.to_owned())];
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
        recorder.register_gauge(&Key::from_parts(metric, labels), &METADATA).set(count as f64);
    };
    if let Some(waiting) = lag.waiting {
        gauge("busgate_lag", waiting + lag.delayed);
    }
    gauge("busgate_leased", lag.in_flight);
}

impl fmt::Debug for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lag").finish_non_exhaustive()
    }
}
