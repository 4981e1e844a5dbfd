//! The wall clock, behind a seam: the one place that reads it.

#![allow(
    clippy::disallowed_types,
    reason = "the system's time is not paused: it is measured by std's instant"
)]

mod course;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant as SteadyInstant, SystemTime, UNIX_EPOCH},
};

use parking_lot::RwLock;
use tokio::time::Instant;

use self::course::Course;

/// A point of wall-clock time, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the Unix epoch; what does not fit becomes the furthest time that does.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(saturated(by)))
    }

    /// The time `by` earlier.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(saturated(by)))
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn saturated(by: Duration) -> i64 {
    i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)
}

/// Tells the wall-clock time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// How often the clock looks at the system's time.
const LOOK: Duration = Duration::from_secs(1);

/// The clock of the machine: it follows the system's time, and never goes back.
///
/// Between two looks at the system's time (one a second at most, made by whoever asks) it goes on with tokio's clock, so
/// that a paused test moves it as well. When the system's time is stepped forward, or the machine slept, it is there
/// with the next look. When it is stepped back, the clock goes at half speed until the system's time has caught up.
/// Clones are the same clock.
#[derive(Clone, Debug)]
pub struct SystemClock {
    origin: Timestamp,
    started: Instant,
    steady: SteadyInstant,
    course: Arc<RwLock<Course>>,
}

impl SystemClock {
    /// A clock that starts at the system's time.
    #[must_use]
    pub fn new() -> Self {
        let origin = system_time();
        let course = Arc::new(RwLock::new(Course::starting(origin)));
        #[allow(clippy::disallowed_methods, reason = "what the system's time is compared with")]
        let steady = SteadyInstant::now();
        Self { origin, started: Instant::now(), steady, course }
    }

    /// The machine's clock, ready to hand around.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self::new())
    }

    /// What the clock would be, had it gone with the system's time from the start. Only steps of the system's time
    /// count: time that a test has skipped has passed.
    fn target(&self, elapsed: Duration) -> Timestamp {
        let unstepped = self.origin.plus(self.steady.elapsed());
        let system = system_time();
        let now = self.origin.plus(elapsed);
        if system >= unstepped {
            now.plus(system.since(unstepped))
        } else {
            now.minus(unstepped.since(system))
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.started.elapsed();
        let course = *self.course.read();
        if course.age(elapsed) < LOOK {
            return course.time(elapsed);
        }
        let mut course = self.course.write();
        if course.age(elapsed) >= LOOK {
            *course = course.steered(elapsed, self.target(elapsed));
        }
        course.time(elapsed)
    }
}

#[allow(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
fn system_time() -> Timestamp {
    Timestamp::default().plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_paused_time() {
        let clock = SystemClock::new();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(5));
    }

    #[test]
    fn times_before_the_epoch_round_down() {
        assert_eq!(Timestamp::from_nanos(-1).as_millis(), -1);
    }
}
