//! The long form of the client's fault suite.

use crate::places::Places;
use crate::run::{Failure, Outcome};
use crate::tests::nextest;
use crate::tools;

/// Faults of every kind, seed after seed, for so many seconds.
pub(crate) fn faults(places: &Places, seconds: &str) -> Outcome {
    if seconds.parse::<u32>().is_err() {
        return Err(Failure::new(format!("faults takes a number of seconds, not {seconds:?}")));
    }
    tools::wheels(places)?;
    let random = "test(=random::random_faults_break_no_law)";
    nextest(places, &["--package", "busgate-client", "--test", "faults", "--no-capture", "-E", random])
        .args(&["--profile", "long"])
        .env("BUSGATE_FAULTS_SECONDS", seconds)
        .step(&format!("{seconds} s of faults between client and gateway"))
}
