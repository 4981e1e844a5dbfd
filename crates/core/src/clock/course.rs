//! How a clock that never goes back follows one that may.

use std::time::Duration;

use super::Timestamp;

/// How far the clock may be from the system's time without anything being done about it.
const TOLERANCE: Duration = Duration::from_millis(20);

/// The way a clock goes on from a moment, until it is steered anew.
///
/// Invariant: it never goes back, however the system's time is stepped: `it_never_goes_back` holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    /// The moment, as time that has gone by since the clock was made.
    at: Duration,
    /// The clock's time then.
    time: Timestamp,
    /// Whether it goes at half speed, because it is ahead of the system's time.
    slow: bool,
}

impl Course {
    pub(super) const fn starting(time: Timestamp) -> Self {
        Self { at: Duration::ZERO, time, slow: false }
    }

    /// How long it has not been steered.
    pub(super) const fn age(&self, elapsed: Duration) -> Duration {
        elapsed.saturating_sub(self.at)
    }

    /// The clock's time when this much has gone by.
    pub(super) fn time(&self, elapsed: Duration) -> Timestamp {
        let age = self.age(elapsed);
        self.time.plus(if self.slow { age / 2 } else { age })
    }

    /// The course from here on, when the system's time is `system` now.
    ///
    /// What is behind is brought forward at once. What is ahead goes at half speed until the system's time is there.
    pub(super) fn steered(&self, elapsed: Duration, system: Timestamp) -> Self {
        let at = elapsed.max(self.at);
        let time = self.time(at);
        if system.since(time) > TOLERANCE {
            return Self { at, time: system, slow: false };
        }
        Self { at, time, slow: time.since(system) > TOLERANCE }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().plus(SECOND * u32::try_from(seconds).unwrap())
    }

    #[test]
    fn a_step_forward_is_followed_at_once() {
        let course = Course::starting(at(100)).steered(SECOND, at(3_701));
        assert_eq!(course.time(SECOND), at(3_701));
        assert_eq!(course.time(SECOND * 2), at(3_702));
    }

    #[test]
    fn a_step_back_is_caught_up_with_at_half_speed() {
        let mut course = Course::starting(at(1_000));
        // The system's time went back by ten seconds.
        let system = |elapsed: u64| at(990 + elapsed);
        for elapsed in 1..=60 {
            let now = SECOND * u32::try_from(elapsed).unwrap();
            course = course.steered(now, system(elapsed));
        }
        assert_eq!(course.time(SECOND * 60), system(60), "ten seconds are caught up with in twenty");
    }

    #[test]
    fn a_hair_of_difference_changes_nothing() {
        let course = Course::starting(at(100));
        for off in [at(101).plus(TOLERANCE), at(101).minus(TOLERANCE)] {
            assert_eq!(course.steered(SECOND, off).time(SECOND * 2), at(102));
        }
    }

    proptest! {
        #[test]
        fn it_never_goes_back(steps in proptest::collection::vec((0u64..5_000, -10_000i64..10_000), 1..50)) {
            let mut course = Course::starting(at(1_000));
            let (mut elapsed, mut step, mut last) = (Duration::ZERO, 0, at(1_000));
            for (gone, by) in steps {
                elapsed += Duration::from_millis(gone);
                step += by;
                let system = Timestamp::from_millis(1_000_000 + step).plus(elapsed);
                prop_assert!(course.time(elapsed) >= last);
                course = course.steered(elapsed, system);
                prop_assert!(course.time(elapsed) >= last);
                last = course.time(elapsed);
                prop_assert!(system <= last.plus(TOLERANCE), "behind the system's time");
            }
        }
    }
}
