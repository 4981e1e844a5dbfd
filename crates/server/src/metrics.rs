//! What `/metrics` shows: requests by door and outcome, the gateway's counters, calls of the transport, and how far
//! consumers are.

mod exposition;
mod lag;
mod metered;
mod outcomes;

use std::{fmt, sync::Arc, time::Duration};

use busgate_core::{Stats, Transport};
use metrics::{Gauge, Key, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_util::MetricKindMask;

pub(crate) use self::exposition::Format;
use self::{
    lag::Lag,
    metered::{Metered, Reach},
    outcomes::Outcomes,
};

/// The upper bounds of the latency histograms, in seconds.
const BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The upper bounds of how much goes at once.
const BATCHES: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0];

/// After this long a gauge that nobody has set is not shown any more: its event or group is gone.
const FORGOTTEN: Duration = Duration::from_secs(60);

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// gRPC.
    Grpc,
    /// REST.
    Rest,
    /// Server-sent events.
    Sse,
    /// WebSocket.
    Websocket,
}

impl Door {
    const ALL: [Self; 4] = [Self::Grpc, Self::Rest, Self::Sse, Self::Websocket];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Rest => "rest",
            Self::Sse => "sse",
            Self::Websocket => "websocket",
        }
    }
}

/// The process's own measurements, and the way to write them all out.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    doors: [Outcomes; 4],
    gauges: Gauges,
    lag: Lag,
    transport: Arc<Metered>,
    reach: Arc<Reach>,
}

/// The gauges that stand at all times: each is set whenever somebody looks.
struct Gauges {
    build: Gauge,
    connections: Gauge,
    sessions: Gauge,
    in_flight: Gauge,
    channels: Gauge,
}

/// What is read from elsewhere at the time of asking.
pub(crate) struct Snapshot {
    pub(crate) stats: Stats,
    pub(crate) connections: usize,
}

impl Metrics {
    /// Measures the calls of `transport`, a transport of this kind, as well: see [`Metrics::transport`].
    pub(crate) fn new(transport: Arc<dyn Transport>, kind: &'static str) -> Self {
        let builder = PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(FORGOTTEN));
        // A list of bounds that is not empty is the only condition, and these are not.
        let builder = builder
            .set_buckets(&BUCKETS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Full(metered::BATCH.into()), &BATCHES)
            })
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        describe(&recorder);
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_static_name(name), &METADATA);
        let build = Key::from_parts(
            "busgate_build_info",
            vec![Label::from_static_parts("version", env!("CARGO_PKG_VERSION"))],
        );
        let door = |door: Door| {
            let labels = [Label::from_static_parts("door", door.as_str())];
            Outcomes::new(&recorder, ["busgate_requests_total", "busgate_request_seconds"], &labels)
        };
        let (metered, reach) = Metered::new(Arc::clone(&transport), kind, &recorder);
        Self {
            handle: recorder.handle(),
            doors: Door::ALL.map(door),
            transport: metered,
            reach,
            gauges: Gauges {
                build: recorder.register_gauge(&build, &METADATA),
                connections: gauge("busgate_connections"),
                sessions: gauge("busgate_sessions"),
                in_flight: gauge("busgate_in_flight"),
                channels: gauge("busgate_channels"),
            },
            lag: Lag::new(transport),
            recorder,
        }
    }

    /// The transport with its calls measured.
    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        Arc::<Metered>::clone(&self.transport)
    }

    /// What one door measures.
    pub(crate) fn door(&self, door: Door) -> &Outcomes {
        let [grpc, rest, sse, websocket] = &self.doors;
        match door {
            Door::Grpc => grpc,
            Door::Rest => rest,
            Door::Sse => sse,
            Door::Websocket => websocket,
        }
    }

    /// Everything there is, in `format`.
    pub(crate) async fn render(&self, snapshot: Snapshot, format: Format) -> String {
        self.gauges.set(&snapshot);
        self.reach.show();
        for (name, _, value) in counters(&snapshot.stats) {
            self.recorder.register_counter(&Key::from_static_name(name), &METADATA).absolute(value);
        }
        self.lag.measure(&self.recorder).await;
        self.handle.run_upkeep();
        exposition::text(self.handle.render(), format)
    }

    /// Folds what was recorded since the last time into the histograms, so that it takes no more room.
    pub(crate) fn tidy(&self) {
        self.handle.run_upkeep();
    }
}

impl Gauges {
    fn set(&self, snapshot: &Snapshot) {
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let set = |gauge: &Gauge, count: u64| gauge.set(count as f64);
        set(&self.build, 1);
        set(&self.connections, snapshot.connections as u64);
        set(&self.sessions, snapshot.stats.sessions);
        set(&self.in_flight, snapshot.stats.in_flight);
        set(&self.channels, snapshot.stats.channels);
    }
}

/// The gateway's own counters: name, what it counts, how many.
fn counters(stats: &Stats) -> [(&'static str, &'static str, u64); 14] {
    [
        ("busgate_published_total", "messages accepted, duplicates included", stats.published),
        ("busgate_duplicates_total", "published messages whose id was known", stats.duplicates),
        ("busgate_publish_failed_total", "messages refused or failed", stats.publish_failed),
        ("busgate_delivered_total", "messages handed to clients", stats.delivered),
        ("busgate_redelivered_total", "of them, attempts after the first", stats.redelivered),
        ("busgate_acked_total", "deliveries acked, automatic acks included", stats.acked),
        ("busgate_nacked_total", "deliveries nacked", stats.nacked),
        ("busgate_rejected_total", "deliveries rejected", stats.rejected),
        ("busgate_extended_total", "leases extended", stats.extended),
        ("busgate_released_total", "deliveries released by their clients", stats.released),
        ("busgate_refused_acks_total", "settlements that changed nothing", stats.refused_acks),
        ("busgate_gaps_total", "gaps told to clients", stats.gaps),
        (
            "busgate_slow_consumers_total",
            "sessions ended because the client did not keep up",
            stats.slow_consumers,
        ),
        ("busgate_too_old_total", "messages settled silently because they were over max_age", stats.too_old),
    ]
}

fn describe(recorder: &PrometheusRecorder) {
    let text = |about: &'static str| SharedString::const_str(about);
    recorder.describe_counter(
        "busgate_requests_total".into(),
        None,
        text("requests answered, by door and outcome"),
    );
    recorder.describe_histogram(
        "busgate_request_seconds".into(),
        Some(Unit::Seconds),
        text("how long an answer took"),
    );
    for (name, about, _) in counters(&Stats::default()) {
        recorder.describe_counter(name.into(), None, text(about));
    }
    metered::describe(recorder);
    for (name, about) in [
        ("busgate_build_info", "always 1; the version is a label"),
        ("busgate_connections", "open connections"),
        ("busgate_sessions", "open subscriptions"),
        ("busgate_in_flight", "deliveries not settled yet"),
        ("busgate_channels", "events read for live subscribers"),
        ("busgate_lag", "messages that wait for a group or consumer"),
        ("busgate_leased", "messages a group or consumer holds"),
    ] {
        recorder.describe_gauge(name.into(), None, text(about));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
