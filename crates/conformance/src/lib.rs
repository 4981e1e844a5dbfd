//! What every busgate transport must do, as tests: one macro, one named test a law, each under a deadline.
//!
//! A back end writes a [`Harness`] and one line, `busgate_conformance::suite!(paused, MyHarness::new())`. Whatever it
//! claims in its capabilities is then tested, and whatever it does not claim is checked to be refused.

#[macro_use]
mod verdict;

mod ask;
mod claim;
mod harness;
pub mod laws;
mod limited;
mod overlay;
mod pace;
mod run;
mod seed;
mod stage;
mod suite;
mod watch;

pub use self::{
    claim::Claim,
    harness::{Harness, Stop},
    limited::Limited,
    overlay::{Overlay, overlaid},
    pace::{Pace, Time},
    run::run,
    stage::Stage,
    verdict::{Broken, Verdict},
    watch::Watch,
};
