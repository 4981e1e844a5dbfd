//! What the tests need beside cargo: put into the target directory where it is missing, left alone where it is there.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::OnceLock;

use crate::places::Places;
use crate::run::{Failure, Outcome, Program};

mod brokers;
mod browser;
mod go;
mod node;
mod python;
mod seed_client;

pub(crate) use python::wheels;

/// Installs everything.
pub(crate) fn install(places: &Places) -> Outcome {
    python::wheels(places)?;
    node::packages(places)?;
    go::programs(places)?;
    seed_client::program(places)?;
    system(places, &["curl"], "curl")?;
    brokers::install(places)?;
    browser::chromium(places)
}

/// Installs what runs brokers, and no more.
pub(crate) fn brokers(places: &Places) -> Outcome {
    python::wheels(places)?;
    brokers::install(places)
}

/// Fills `folder` by `fill`, unless it was filled from the same `pins` before.
fn once(folder: &Path, pins: &str, fill: impl FnOnce() -> Outcome) -> Outcome {
    let stamp = folder.join(".pins");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Failure::during(format_args!("clear {}", folder.display())))?;
    }
    fs::create_dir_all(folder).map_err(Failure::during(format_args!("make {}", folder.display())))?;
    fill()?;
    write(&stamp, pins)
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(Failure::during(format_args!("write {}", path.display())))
}

/// Makes `link` lead to `program`, wherever it led before.
fn link(link: &Path, program: &Path) -> Outcome {
    if fs::read_link(link).is_ok_and(|known| known == program) {
        return Ok(());
    }
    let made = link.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        // A link to a program that has gone is in the way of a new one.
        fs::remove_file(link).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        symlink(program, link)
    });
    made.map_err(Failure::during(format_args!("link {}", link.display())))
}

/// The first of `programs` that can be found, if need be after installing the Debian package that holds it.
fn system(places: &Places, programs: &[&str], package: &str) -> Result<String, Failure> {
    if let Some(path) = find(places, programs) {
        return Ok(path);
    }
    debian(places, package)?;
    find(places, programs)
        .ok_or_else(|| Failure::new(format!("the package {package} brought no {}", programs.join(" or "))))
}

/// Installs a Debian package, where that is possible.
fn debian(places: &Places, package: &str) -> Outcome {
    let root = Program::new(places, "id").args(&["-u"]).answer().is_some_and(|user| user == "0");
    if !root || find(places, &["apt-get"]).is_none() {
        return Err(Failure::new(format!("the tests need {package}: please install that package")));
    }
    let apt = || Program::new(places, "apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    static LISTED: OnceLock<()> = OnceLock::new();
    if LISTED.get().is_none() {
        apt().args(&["update", "--quiet=2"]).step("lists of Debian packages")?;
        LISTED.get_or_init(|| ());
    }
    apt()
        .args(&["install", "--quiet=2", "--yes", "--no-install-recommends", package])
        .step(&format!("Debian package {package}"))
}

fn find(places: &Places, programs: &[&str]) -> Option<String> {
    let found =
        |program: &&str| Program::new(places, "sh").args(&["-c", "command -v \"$0\"", program]).answer();
    programs.iter().find_map(found)
}
