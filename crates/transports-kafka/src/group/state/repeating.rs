//! Telling the broker the same again: a commit whose connection was lost may arrive after those that were made since, and
//! the broker goes by what arrives last.

use std::time::Duration;

use tokio::time::Instant;

/// How long a system may still try to deliver what a connection had that was given up.
const LATE: Duration = Duration::from_secs(120);

/// How soon it is made good.
const EVERY: Duration = Duration::from_secs(1);

/// Until when all is told again, and when next.
#[derive(Debug, Default)]
pub(super) struct Repeating(Option<(Instant, Instant)>);

impl Repeating {
    /// A connection may have been lost by now.
    pub(super) fn begin(&mut self, now: Instant) {
        let next = self.0.map_or(now + EVERY, |(_, next)| next);
        self.0 = Some((now + LATE, next));
    }

    /// When all is to be told again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.map(|(_, next)| next)
    }

    /// Whether all is to be told again now, which is said once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let Some((until, next)) = self.0 else { return false };
        if next > now {
            return false;
        }
        self.0 = Some((until, now + EVERY)).filter(|(until, next)| next <= until);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_told_again_every_second_until_nothing_can_be_late_any_more() {
        let (mut repeating, begin) = (Repeating::default(), Instant::now());
        assert!(!repeating.is_due(begin) && repeating.due().is_none());
        repeating.begin(begin);
        assert!(!repeating.is_due(begin));
        for second in 1..=LATE.as_secs() {
            let now = begin + Duration::from_secs(second);
            assert_eq!(repeating.due(), Some(now));
            assert!(repeating.is_due(now) && !repeating.is_due(now), "once in second {second}");
        }
        assert_eq!(repeating.due(), None);
        // More trouble puts off the end, and not the next time.
        repeating.begin(begin);
        repeating.begin(begin + Duration::from_millis(900));
        assert_eq!(repeating.due(), Some(begin + EVERY));
    }
}
