//! Packages for Node: the clients that web applications use, and the driver of the browser.

use super::{once, system, write};
use crate::places::Places;
use crate::run::{Outcome, Program};

const PACKAGE: &str = include_str!("../../pins/package.json");
const LOCK: &str = include_str!("../../pins/package-lock.json");

/// Installs what the lock file names.
pub(super) fn packages(places: &Places) -> Outcome {
    system(places, &["node"], "nodejs")?;
    let folder = places.tools().join("node");
    once(&folder, LOCK, || {
        let npm = system(places, &["npm"], "npm")?;
        write(&folder.join("package.json"), PACKAGE)?;
        write(&folder.join("package-lock.json"), LOCK)?;
        Program::new(places, npm)
            .args(&["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
            .within(&folder)
            .step("node packages")
    })
}
