//! Running a program as a named step that either succeeds or ends the task.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::places::Places;

/// Why a task did not succeed.
#[derive(Debug)]
pub(crate) struct Failure(String);

/// The end of a step.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Adds what was being done when `error` came.
    pub(crate) fn during(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl From<busgate_brokers::Error> for Failure {
    fn from(error: busgate_brokers::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `cargo run` describes the package it runs to it. Passed on to another cargo, these make build scripts that
/// watch them (ring's does) run again, and everything above them compile again.
const OF_THIS_PACKAGE: [&str; 17] = [
    "CARGO",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_AUTHORS",
    "CARGO_PKG_DESCRIPTION",
    "CARGO_PKG_HOMEPAGE",
    "CARGO_PKG_LICENSE",
    "CARGO_PKG_LICENSE_FILE",
    "CARGO_PKG_NAME",
    "CARGO_PKG_README",
    "CARGO_PKG_REPOSITORY",
    "CARGO_PKG_RUST_VERSION",
    "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// A program to run in the top folder, without standard input.
#[derive(Debug)]
pub(crate) struct Program(Command);

impl Program {
    pub(crate) fn new(places: &Places, path: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(path);
        command.current_dir(&places.root).stdin(Stdio::null());
        for name in OF_THIS_PACKAGE {
            command.env_remove(name);
        }
        Self(command)
    }

    /// Cargo with these arguments.
    pub(crate) fn cargo(places: &Places, arguments: &[&str]) -> Self {
        Self::new(places, "cargo").args(arguments)
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: &[S]) -> Self {
        self.0.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Runs it with its output shown.
    pub(crate) fn step(mut self, title: &str) -> Outcome {
        eprintln!("\n== {title}");
        let status =
            self.0.status().map_err(Failure::during(format_args!("{title}: {:?}", self.0.get_program())))?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("{title}: {status}"))) }
    }

    /// Runs it unseen: what it printed when it succeeded, nothing otherwise.
    pub(crate) fn answer(mut self) -> Option<String> {
        let output = self.0.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
