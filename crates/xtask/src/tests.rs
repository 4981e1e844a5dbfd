//! The one test command, and the long form of the crash test.

use crate::brokers;
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
    let packages = packages(selection);
    let scope: &[&str] = if packages.is_empty() { &["--workspace"] } else { &[] };
    // Held until the tests are through.
    let services = brokers::start(&packages)?;
    let tests = nextest(places, scope).args(selection).env("NEXTEST_TEST_THREADS", &threads());
    services
        .variables()
        .fold(tests, |tests, (variable, url)| tests.env(variable, &url))
        .step("unit, integration and outside tests")
}

/// The packages that a selection names.
fn packages(selection: &[String]) -> Vec<&str> {
    let mut arguments = selection.iter().map(String::as_str);
    let mut packages = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument {
            "-p" | "--package" => packages.extend(arguments.next()),
            _ => packages.extend(
                argument
                    .strip_prefix("--package=")
                    .or_else(|| argument.strip_prefix("-p"))
                    .filter(|it| !it.is_empty()),
            ),
        }
    }
    packages
}

/// How many of the test runner's slots there are: four a core. What computes takes four (`pins/nextest.toml`), what
/// waits for a broker one.
fn threads() -> String {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    (4 * cores).to_string()
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
