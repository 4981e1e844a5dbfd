//! The gateway as a process: see [`busgate::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A publish allocates a few dozen times; this one takes a third of the instructions for it that the system's takes.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    busgate::cli::run(std::env::args_os(), &busgate::Environment::process())
}
