//! The one test command, and the long form of the crash test.

use crate::fuzz;
use crate::places::Places;
use crate::run::{Failure, Outcome, Program};
use crate::tools;

/// Every test: those in the documentation first, so that the summary of all others comes last.
pub(crate) fn test(places: &Places, selection: &[String]) -> Outcome {
    tools::install(places)?;
    if selection.is_empty() {
        Program::cargo(places, &["test", "--quiet", "--doc", "--workspace"])
            .step("tests in the documentation")?;
        fuzz::briefly(places)?;
    }
    // A package asked for is the only one built.
    let package = selection.iter().any(|argument| argument == "-p" || argument.starts_with("--package"));
    let scope: &[&str] = if package { &[] } else { &["--workspace"] };
    nextest(places, scope).args(selection).step("unit, integration and outside tests")
}

/// Kills the embedded log under load `cycles` times.
pub(crate) fn kill9(places: &Places, cycles: &str) -> Outcome {
    if cycles.parse::<u32>().is_err() {
        return Err(Failure::new(format!("kill9 takes a number of cycles, not {cycles:?}")));
    }
    tools::wheels(places)?;
    nextest(
        places,
        &["--package", "busgate-transports-log", "--no-capture", "-E", "test(=killed_under_load)"],
    )
    .args(&["--profile", "long"])
    .env("BUSGATE_KILL9_CYCLES", cycles)
    .step(&format!("{cycles} kills of the embedded log"))
}

/// The test runner, over what `arguments` select.
pub(crate) fn nextest(places: &Places, arguments: &[&str]) -> Program {
    Program::new(places, places.wheel("cargo-nextest"))
        .args(&["nextest", "run", "--config-file", "crates/xtask/pins/nextest.toml"])
        .args(arguments)
}
