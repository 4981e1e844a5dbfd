//! The command line.

mod args;
mod bench;
mod capabilities;
mod client;
mod descriptors;
mod events;
mod publish;
mod serve;
mod settle;
mod subscribe;

use std::{
    ffi::OsString,
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use clap::Parser;

use self::args::{Arguments, Command, ConfigCommand};
use crate::config::{self, Config, ConfigError, Environment, Sources};

/// Bad configuration, or a command line that can't be read.
pub(crate) const BAD_CONFIGURATION: u8 = 64;

/// What it takes can't be reached: the transport at the start, or the gateway of a client.
pub(crate) const UNREACHABLE: u8 = 69;

/// Anything else that went wrong.
pub(crate) const FAILED: u8 = 1;

/// Runs the command that `arguments` (the program's name first) ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            _ = error.print();
            return if error.use_stderr() { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command {
        Command::Serve(serve) => serve::run(&serve, environment),
        Command::Pub(publish) => client::run(publish::run(publish, environment)),
        Command::Sub(subscribe) => client::run(subscribe::run(subscribe, environment)),
        Command::Events(events) => client::run(events::run(events, environment)),
        Command::Ack(ack) => client::run(settle::run(ack, environment)),
        Command::Health(target) => client::run(events::health(target, environment)),
        Command::Bench(bench) => client::run(bench::run(bench, environment)),
        Command::Capabilities => say(&capabilities::table()),
        Command::Config(ConfigCommand::Check { file }) => check(&file),
        Command::Config(ConfigCommand::Defaults) => say(&config::defaults()),
        Command::Version => say(&format!("busgate {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

/// Checks a file alone, without this machine's environment.
fn check(file: &std::path::Path) -> ExitCode {
    let read = Sources::none()
        .with_file(file)
        .map_err(|error| vec![ConfigError::file(&file.display().to_string(), &error)]);
    match read.and_then(|sources| Config::read(&sources)) {
        Ok(_) => say(&format!("{}: fine\n", file.display())),
        Err(errors) => refuse(&errors),
    }
}

/// Says what is wrong, each on a line.
pub(crate) fn refuse(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        complain(&error.to_string());
    }
    ExitCode::from(BAD_CONFIGURATION)
}

/// Writes to stdout what the user asked for.
pub(crate) fn say(text: &str) -> ExitCode {
    match stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}

/// Writes to stderr what went wrong.
pub(crate) fn complain(text: &str) {
    _ = writeln!(stderr(), "busgate: {text}");
}
