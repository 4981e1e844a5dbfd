//! How calls of one kind end, and how long they take.

use std::{fmt, time::Duration};

use busgate_core::ErrorKind;
use metrics::{Counter, Histogram, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::METADATA;

/// The calls of one kind. Handles are made once: counting takes no look-up.
pub(crate) struct Outcomes {
    ok: Counter,
    failed: Vec<Counter>,
    latency: Histogram,
}

impl Outcomes {
    /// Counted by outcome under the first name, measured under the second.
    pub(super) fn new(
        recorder: &PrometheusRecorder,
        [total, seconds]: [&'static str; 2],
        labels: &[Label],
    ) -> Self {
        let outcome = |kind: &'static str| {
            let mut labels = labels.to_vec();
            labels.push(Label::from_static_parts("kind", kind));
            recorder.register_counter(&Key::from_parts(total, labels), &METADATA)
        };
        Self {
            ok: outcome("ok"),
            failed: ErrorKind::ALL.into_iter().map(|kind| outcome(kind.as_str())).collect(),
            latency: recorder.register_histogram(&Key::from_parts(seconds, labels.to_vec()), &METADATA),
        }
    }

    /// Counts a call that was answered after `elapsed`, with an error of `failed` or without one.
    pub(crate) fn observe(&self, failed: Option<ErrorKind>, elapsed: Duration) {
        let index = failed.and_then(|kind| ErrorKind::ALL.into_iter().position(|one| one == kind));
        match index.and_then(|index| self.failed.get(index)) {
            Some(counter) => counter.increment(1),
            None => self.ok.increment(1),
        }
        self.latency.record(elapsed.as_secs_f64());
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes").finish_non_exhaustive()
    }
}
