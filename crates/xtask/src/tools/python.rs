//! Python packages: the test runner and the licence checker as wheels, and the Python clients.

use super::{debian, once, system};
use crate::places::Places;
use crate::run::{Outcome, Program};

const PINS: &str = include_str!("../../pins/requirements.txt");

/// Installs the pinned wheels into an environment of their own.
pub(crate) fn wheels(places: &Places) -> Outcome {
    let folder = places.tools().join("python");
    once(&folder, PINS, || {
        let python = system(places, &["python3"], "python3")?;
        // Debian keeps this part of the standard library in a package of its own.
        if Program::new(places, &python).args(&["-c", "import ensurepip"]).answer().is_none() {
            debian(places, "python3-venv")?;
        }
        Program::new(places, python).args(&["-m", "venv"]).args(&[&folder]).step("python environment")?;
        let requirements = places.root.join("crates/xtask/pins/requirements.txt");
        Program::new(places, places.wheel("python3"))
            .args(&[
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
                "--requirement",
            ])
            .args(&[requirements])
            .step("python packages")
    })
}
