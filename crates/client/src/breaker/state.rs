//! The breaker's state machine. Pure: time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// Closed, open or half-open.
#[derive(Debug)]
pub(super) struct Machine {
    threshold: u32,
    recovery: Duration,
    phase: Phase,
    /// Counts the phases and the failures: a failure of a call that was admitted before the last one is the same
    /// failure, seen by another call.
    era: u64,
}

#[derive(Debug)]
enum Phase {
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        /// Whether the one probe is under way.
        probing: bool,
    },
}

/// An admitted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    era: u64,
}

impl Machine {
    pub(super) const fn new(threshold: u32, recovery: Duration) -> Self {
        Self { threshold, recovery, phase: Phase::Closed { failures: 0 }, era: 0 }
    }

    /// Admits a call, or says how long none will be.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Ticket, Duration> {
        match self.phase {
            Phase::Closed { .. } => {}
            Phase::Open { until } if now < until => return Err(until - now),
            Phase::HalfOpen { probing: true } => return Err(self.recovery),
            Phase::Open { .. } | Phase::HalfOpen { .. } => self.enter(Phase::HalfOpen { probing: true }),
        }
        Ok(Ticket { era: self.era })
    }

    /// The call was answered.
    pub(super) fn succeeded(&mut self, ticket: Ticket) {
        match &mut self.phase {
            Phase::Closed { failures } => *failures = 0,
            Phase::HalfOpen { .. } if ticket.era == self.era => self.stream_succeeded(),
            Phase::HalfOpen { .. } | Phase::Open { .. } => {}
        }
    }

    /// The call failed.
    pub(super) fn failed(&mut self, ticket: Ticket, now: Instant) {
        if ticket.era == self.era {
            self.stream_failed(now);
        }
    }

    /// The call was given up, or rejected.
    pub(super) fn abandoned(&mut self, ticket: Ticket) {
        if let Phase::HalfOpen { probing } = &mut self.phase
            && ticket.era == self.era
        {
            *probing = false;
        }
    }

    /// Something that was admitted at some time works.
    pub(super) fn stream_succeeded(&mut self) {
        match &mut self.phase {
            Phase::Closed { failures } => *failures = 0,
            Phase::HalfOpen { .. } => self.enter(Phase::Closed { failures: 0 }),
            Phase::Open { .. } => {}
        }
    }

    /// Something that was admitted at some time has failed.
    pub(super) fn stream_failed(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Closed { failures } if *failures + 1 < self.threshold => {
                *failures += 1;
                self.era += 1;
            }
            Phase::Closed { .. } | Phase::HalfOpen { .. } => {
                self.enter(Phase::Open { until: now + self.recovery });
            }
            Phase::Open { .. } => {}
        }
    }

    /// There is a reason to try before the time is up.
    pub(super) fn recover(&mut self) {
        if matches!(self.phase, Phase::Open { .. }) {
            self.enter(Phase::HalfOpen { probing: false });
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Admit,
        Succeed(usize),
        Fail(usize),
        Abandon(usize),
        StreamSucceeds,
        StreamFails,
        Recover,
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Admit),
            2 => any::<usize>().prop_map(Step::Succeed),
            3 => any::<usize>().prop_map(Step::Fail),
            1 => any::<usize>().prop_map(Step::Abandon),
            1 => Just(Step::StreamSucceeds),
            1 => Just(Step::StreamFails),
            1 => Just(Step::Recover),
            2 => (0u64..40).prop_map(Step::Wait),
        ]
    }

    const RECOVERY: Duration = Duration::from_secs(30);

    /// Takes one of the tickets under way.
    fn take(tickets: &mut Vec<Ticket>, index: usize) -> Option<Ticket> {
        (!tickets.is_empty()).then(|| tickets.swap_remove(index % tickets.len()))
    }

    proptest! {
        /// It never latches: when every outcome is in and the recovery time is over, a call gets through; and never
        /// do two probes at a time.
        #[test]
        fn it_never_latches_and_probes_alone(steps in prop::collection::vec(step(), 0..200)) {
            let mut now = Instant::now();
            let mut machine = Machine::new(3, RECOVERY);
            let mut tickets = Vec::new();
            for step in steps {
                match step {
                    Step::Admit => {
                        let probing = matches!(machine.phase, Phase::HalfOpen { probing: true });
                        if let Ok(ticket) = machine.admit(now) {
                            prop_assert!(!probing, "two probes at a time");
                            tickets.push(ticket);
                        }
                    }
                    Step::Succeed(index) => if let Some(ticket) = take(&mut tickets, index) {
                        machine.succeeded(ticket);
                    },
                    Step::Fail(index) => if let Some(ticket) = take(&mut tickets, index) {
                        machine.failed(ticket, now);
                    },
                    Step::Abandon(index) => if let Some(ticket) = take(&mut tickets, index) {
                        machine.abandoned(ticket);
                    },
                    Step::StreamSucceeds => machine.stream_succeeded(),
                    Step::StreamFails => machine.stream_failed(now),
                    Step::Recover => machine.recover(),
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
            }
            tickets.into_iter().for_each(|ticket| machine.abandoned(ticket));
            prop_assert!(machine.admit(now + RECOVERY).is_ok());
        }

        #[test]
        fn calls_that_fail_together_fail_once(together in 1usize..50) {
            let now = Instant::now();
            let mut machine = Machine::new(2, RECOVERY);
            let tickets: Vec<_> = (0..together).map(|_| machine.admit(now).unwrap()).collect();
            tickets.into_iter().for_each(|ticket| machine.failed(ticket, now));
            let next = machine.admit(now).unwrap();
            machine.failed(next, now);
            prop_assert!(machine.admit(now).is_err());
        }

        #[test]
        fn late_failures_of_an_earlier_phase_change_nothing(late in 1usize..50) {
            let now = Instant::now();
            let mut machine = Machine::new(1, RECOVERY);
            let tickets: Vec<_> = (0..=late).map(|_| machine.admit(now).unwrap()).collect();
            machine.failed(tickets[0], now);
            let probe = machine.admit(now + RECOVERY).unwrap();
            for ticket in &tickets[1..] {
                machine.failed(*ticket, now + RECOVERY);
            }
            machine.succeeded(probe);
            prop_assert!(machine.admit(now + RECOVERY).is_ok());
        }
    }

    #[test]
    fn successes_between_failures_keep_it_closed() {
        let now = Instant::now();
        let mut machine = Machine::new(2, RECOVERY);
        for _ in 0..10 {
            let ticket = machine.admit(now).unwrap();
            machine.failed(ticket, now);
            machine.succeeded(ticket);
        }
        assert!(machine.admit(now).is_ok());
    }
}
