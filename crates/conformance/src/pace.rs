//! How fast a back end is, so that the same law fits paused time and a server across the network.

use std::time::Duration;

/// Which clock a suite runs by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Tokio's paused clock on one thread: waiting costs nothing. For back ends that wait on nothing but tokio.
    Paused,
    /// The real clock on two threads.
    Real,
}

/// How long the steps of a law take on this back end.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How long one law may take, by the clock it runs by.
    pub deadline: Duration,
    /// How long one law may take by the clock on the wall: it catches what blocks a thread, or spins, and so never lets
    /// a timer fire.
    pub wall: Duration,
    /// How long something that must come may take. Well below the default lease, so that a redelivery is not taken
    /// for a delivery.
    pub patience: Duration,
    /// How long silence is watched where no later message can show it.
    pub quiet: Duration,
    /// The lease and the delay that laws about time ask for.
    pub short: Duration,
    /// How much later than its time something may come.
    pub slack: Duration,
    /// How much earlier than its time something may come: the resolution of the back end's clock.
    pub early: Duration,
    /// How many messages a law of volume takes.
    pub many: usize,
    /// How many seeds the laws of random operations try, and the first of them.
    pub seeds: (u64, u64),
}

impl Pace {
    /// For paused time.
    #[must_use]
    pub const fn paused() -> Self {
        Self {
            deadline: Duration::from_secs(24 * 3600),
            wall: Duration::from_secs(60),
            patience: Duration::from_secs(10),
            quiet: Duration::from_secs(5),
            short: Duration::from_secs(2),
            slack: Duration::from_millis(25),
            early: Duration::ZERO,
            many: 1000,
            seeds: (24, 1),
        }
    }

    /// For real time on this machine.
    #[must_use]
    pub const fn real() -> Self {
        Self {
            deadline: Duration::from_secs(120),
            wall: Duration::from_secs(180),
            patience: Duration::from_secs(15),
            quiet: Duration::from_millis(150),
            short: Duration::from_millis(400),
            slack: Duration::from_millis(400),
            early: Duration::from_millis(2),
            many: 1000,
            seeds: (3, 1),
        }
    }

    /// The usual pace under this clock.
    #[must_use]
    pub const fn of(time: Time) -> Self {
        match time {
            Time::Paused => Self::paused(),
            Time::Real => Self::real(),
        }
    }
}
