//! Where things lie: the fixed top level, and one set of file names in every transport.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::sources::{entries, root};

const TOP: [&str; 17] = [
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".gitignore",
    ".rustfmt.toml",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "crates",
    "deny.toml",
    "docker-compose.yml",
    "examples",
    "justfile",
    "proto",
];

/// The transports there are, by the name of their crate.
pub(super) const TRANSPORTS: [&str; 5] = ["kafka", "log", "memory", "nats", "redis"];

/// The files of every transport, beside what is its own.
const TRANSPORT: [&str; 8] = ["README", "codec", "config", "error", "lease", "lib", "reader", "transport"];

/// What stands at the top of the list of tracked files and should not, and what should and does not.
fn misplaced(tracked: &str) -> Vec<String> {
    let top: BTreeSet<&str> = tracked.lines().filter_map(|path| path.split('/').next()).collect();
    let fixed = BTreeSet::from(TOP);
    let extra = top.difference(&fixed).map(|name| format!("{name} does not belong at the top"));
    let missing = fixed.difference(&top).map(|name| format!("{name} is missing at the top"));
    extra.chain(missing).collect()
}

/// The files every transport has and this one lacks.
fn missing(files: &BTreeSet<String>) -> Vec<&'static str> {
    TRANSPORT.into_iter().filter(|name| !files.contains(*name)).collect()
}

/// What a package has: its page, and its modules.
fn files(package: &Path) -> BTreeSet<String> {
    let stem = |path: &std::path::PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let page = Some(package.join("README.md")).filter(|page| page.is_file());
    page.iter().chain(&entries(&package.join("src"))).filter_map(stem).collect()
}

#[test]
fn the_top_level_is_fixed() {
    let git =
        Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("git lists the files");
    assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
    let breaches = misplaced(&String::from_utf8_lossy(&git.stdout));
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn every_transport_has_the_same_files() {
    for transport in TRANSPORTS {
        let missing = missing(&files(&root().join("crates").join(format!("transports-{transport}"))));
        assert!(missing.is_empty(), "transports-{transport} lacks {missing:?}");
    }
}

#[test]
fn the_layout_sees_a_breach() {
    let tracked = TOP.join("/x\n") + "\nnotes.md";
    assert_eq!(misplaced(&tracked), ["notes.md does not belong at the top"]);
    assert_eq!(misplaced(&TOP[1..].join("\n")), [".cargo is missing at the top"]);
    let incomplete = TRANSPORT.iter().skip(1).map(ToString::to_string).collect();
    assert_eq!(missing(&incomplete), ["README"]);
}
