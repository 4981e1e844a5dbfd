//! The long form of the test that kills and drains the gateway under all its doors.

use crate::places::Places;
use crate::run::{Failure, Outcome};
use crate::{tests, tools};

/// Goes on for `seconds`, by a seed of the moment unless `BUSGATE_CHAOS_SEED` is set.
pub(crate) fn chaos(places: &Places, seconds: &str) -> Outcome {
    if seconds.parse::<u32>().is_err() {
        return Err(Failure::new(format!("chaos takes a number of seconds, not {seconds:?}")));
    }
    tools::wheels(places)?;
    tests::nextest(places, &["--package", "busgate", "--test", "chaos", "--no-capture"])
        .args(&["--profile", "long"])
        .env("BUSGATE_CHAOS_SECONDS", seconds)
        .step(&format!("{seconds} seconds of chaos"))
}
