//! libFuzzer on stable Rust: the crates of the workspace compiled with coverage, and run target by target.
//!
//! For the build, cargo calls this very program in place of the compiler, for the crates of the workspace alone. So
//! dependencies are those of the tests, nothing compiled for anything else is touched, and no time goes into coverage
//! of code that is not ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::places::Places;
use crate::run::{Failure, Outcome, Program};

/// What makes coverage of a crate, which keeps the checks that a release leaves out.
const INSTRUMENTED: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// How long a run of all targets takes on each in the tests, and on each when asked for.
const BRIEFLY: &str = "4";
const UNLESS_TOLD: &str = "60";

/// A single input that takes longer than this, in seconds, or more memory, in MiB, is a failure.
const BOUNDS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=1024"];

/// Fuzzes every target for a moment: they build, they run, and nothing shows at once.
pub(crate) fn briefly(places: &Places) -> Outcome {
    run(places, &targets(places)?, BRIEFLY)
}

/// Fuzzes one target, or all, for some seconds each.
pub(crate) fn fuzz(places: &Places, arguments: &[String]) -> Outcome {
    let all = targets(places)?;
    let is_number = |text: &String| text.parse::<u32>().is_ok();
    match arguments {
        [] => run(places, &all, UNLESS_TOLD),
        [seconds] if is_number(seconds) => run(places, &all, seconds),
        [target] if all.contains(target) => run(places, std::slice::from_ref(target), UNLESS_TOLD),
        [target, seconds] if all.contains(target) && is_number(seconds) => {
            run(places, std::slice::from_ref(target), seconds)
        }
        _ => Err(Failure::new(format!("fuzz takes one of {}, and a number of seconds", all.join(", ")))),
    }
}

/// Whether cargo calls this program in place of the compiler.
pub(crate) fn is_compiler(program: &str) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == "rustc")
}

/// Compiles a crate of the workspace with coverage, unless it runs at build time.
pub(crate) fn compile(rustc: &str, arguments: &[String]) -> Outcome {
    let builds = |argument: &String| argument == "build_script_build" || argument == "proc-macro";
    let mut command = Command::new(rustc);
    command.args(arguments);
    if !arguments.iter().any(builds) {
        command.args(INSTRUMENTED);
    }
    let status = command.status().map_err(Failure::during(rustc))?;
    std::process::exit(status.code().unwrap_or(1));
}

/// The targets: each has its corpus.
fn targets(places: &Places) -> Result<Vec<String>, Failure> {
    let corpus = places.root.join("crates/fuzz/corpus");
    let listed = fs::read_dir(&corpus).map_err(Failure::during(format_args!("list {}", corpus.display())))?;
    let mut names: Vec<_> =
        listed.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn run(places: &Places, targets: &[String], seconds: &str) -> Outcome {
    instrumented(places, &["--no-run"])?.step("instrumented build")?;
    for target in targets {
        let found = folder(places, &format!("corpus/{target}"))?;
        let broken = folder(places, "broken")?.join(format!("{target}-"));
        let known = places.root.join("crates/fuzz/corpus").join(target);
        instrumented(places, &["--"])?
            .args(&BOUNDS)
            .args(&[format!("-max_total_time={seconds}"), format!("-artifact_prefix={}", broken.display())])
            .args(&["-print_final_stats=1", "-verbosity=0"])
            .args(&[found, known])
            .args(&["-ignore_remaining_args=1", target])
            .step(&format!("fuzz {target}"))?;
    }
    Ok(())
}

/// Cargo, on the instrumented target. With the features of the whole workspace, as the tests were built.
fn instrumented(places: &Places, arguments: &[&str]) -> Result<Program, Failure> {
    let wrapper = std::env::current_exe().map_err(Failure::during("this program's own path"))?;
    Ok(Program::cargo(places, &["test", "--quiet", "--workspace", "--test", "libfuzzer"])
        .args(arguments)
        .env("RUSTC_WORKSPACE_WRAPPER", &wrapper.to_string_lossy()))
}

/// A folder for what fuzzing leaves behind, in the target directory.
fn folder(places: &Places, name: &str) -> Result<PathBuf, Failure> {
    let folder = places.fuzzed().join(name);
    fs::create_dir_all(&folder).map_err(Failure::during(format_args!("make {}", folder.display())))?;
    Ok(folder)
}
