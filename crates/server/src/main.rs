//! The gateway as a process: see [`busgate::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    busgate::cli::run(std::env::args_os(), &busgate::Environment::process())
}
