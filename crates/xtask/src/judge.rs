//! The long form of the tests in which outside judges hold the gateway to the standards.

use crate::places::Places;
use crate::run::{Failure, Outcome};
use crate::{tests, tools};

/// The judges that can go on for longer: of the API's description, and of WebSockets with every case there is.
const SELECTED: &str =
    "test(/schemathesis::/) | test(=doors::websocket::tests::autobahn_finds_nothing_wrong)";

/// Lets each go on for `seconds` where it can, against a release build, which keeps the times that some cases set.
pub(crate) fn judge(places: &Places, seconds: &str) -> Outcome {
    if seconds.parse::<u32>().is_err() {
        return Err(Failure::new(format!("judge takes a number of seconds, not {seconds:?}")));
    }
    tools::install(places)?;
    tests::nextest(places, &["--package", "busgate", "--release", "-E", SELECTED])
        .args(&["--profile", "long"])
        .env("BUSGATE_JUDGE_SECONDS", seconds)
        .step(&format!("{seconds} seconds of judges"))
}
