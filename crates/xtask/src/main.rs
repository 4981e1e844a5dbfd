//! Project tasks, on little more than the standard library so that they compile in seconds.

use std::process::ExitCode;

mod brokers;
mod chaos;
mod checks;
mod faults;
mod fuzz;
mod judge;
mod places;
mod run;
mod tests;
mod tools;

use places::Places;
use run::{Failure, Outcome, Program};

const USAGE: &str = "\
usage: cargo xtask TASK

  test [NEXTEST ARGUMENT..]   every test; with arguments only the unit and integration tests they select
  check                       format, lints, documentation, licences and import rules
  ci                          check, then test: what .ci/run runs
  tools                       install the test tools into the target directory, where they are missing
  services                    run the brokers that the tests share, and tell how tests find them
  kill9 [CYCLES]              kill the embedded log under load, 200 times unless told
  chaos [SECONDS]             drain and kill the gateway under clients on every door, for ten minutes unless told
  faults [SECONDS]            break connections and gateways under the client, for ten minutes unless told
  judge [SECONDS]             judges of OpenAPI and WebSockets take their time, ten minutes unless told
  fuzz [TARGET] [SECONDS]     libFuzzer on every target, or on one, for a minute each unless told
  bench [ARGUMENT..]          the benchmarks, with their floor beside them; `bench --help` lists them";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match perform(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &[String]) -> Outcome {
    let Some((task, rest)) = arguments.split_first() else {
        return Err(Failure::new(USAGE));
    };
    if fuzz::is_compiler(task) {
        return fuzz::compile(task, rest);
    }
    let places = Places::find()?;
    match (task.as_str(), rest) {
        ("test", selection) => tests::test(&places, selection),
        ("check", []) => checks::check(&places),
        ("ci", []) => checks::check(&places).and_then(|()| tests::test(&places, &[])),
        ("tools", []) => tools::install(&places),
        ("services", []) => brokers::serve(&places),
        ("kill9", []) => tests::kill9(&places, "200"),
        ("kill9", [cycles]) => tests::kill9(&places, cycles),
        ("chaos", []) => chaos::chaos(&places, "600"),
        ("chaos", [seconds]) => chaos::chaos(&places, seconds),
        ("faults", []) => faults::faults(&places, "600"),
        ("faults", [seconds]) => faults::faults(&places, seconds),
        ("judge", []) => judge::judge(&places, "600"),
        ("judge", [seconds]) => judge::judge(&places, seconds),
        ("fuzz", arguments) => fuzz::fuzz(&places, arguments),
        ("bench", arguments) => bench(&places, arguments),
        _ => Err(Failure::new(USAGE)),
    }
}

/// Builds the gateway beside its benchmarks, which start it.
fn bench(places: &Places, arguments: &[String]) -> Outcome {
    Program::cargo(places, &["build", "--release", "--package", "busgate", "--package", "busgate-bench"])
        .step("release build")?;
    Program::new(places, places.release("busgate-bench")).args(arguments).step("bench")
}
