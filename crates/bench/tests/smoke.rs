//! The benchmarks run, and count what they deliver; how fast is for `cargo xtask bench` to say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use std::process::Command;

/// The rows of the table that a benchmark prints, without its heading.
fn rows(arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_busgate-bench")).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}\n{out}\n{err}");
    out.lines().skip(2).map(ToOwned::to_owned).collect()
}

#[test]
fn ingest_is_measured_beside_its_floor() {
    let rows = rows(&["ingest", "--connections", "2", "--rounds", "1", "--seconds", "0.3"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[0].contains("floor") && rows[1].contains("busgate"), "{rows:?}");
}

#[test]
fn fan_out_loses_and_doubles_nothing() {
    let rows = rows(&["fanout", "--subscribers", "20", "--rounds", "1", "--seconds", "0.5"]);
    assert_eq!(rows.len(), 6, "{rows:?}");
}

#[test]
fn the_log_is_measured_beside_plain_files() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    let rows = rows(&[
        "log",
        "--dir",
        &place,
        "--in-flight",
        "8",
        "--rounds",
        "1",
        "--seconds",
        "0.2",
        "--messages",
        "2000",
    ]);
    assert_eq!(rows.len(), 2, "{rows:?}");
}

#[test]
fn idle_subscribers_are_weighed() {
    let rows = rows(&["idle", "--subscribers", "50", "--rounds", "1"]);
    assert!(!rows.is_empty(), "{rows:?}");
}

#[test]
fn a_worker_pool_is_measured_here_and_behind_a_gateway() {
    let rows = rows(&["pool", "--in-flight", "16", "--rounds", "1", "--seconds", "0.3"]);
    assert_eq!(rows.len(), 6, "{rows:?}");
    assert!(rows.iter().all(|row| !row.contains(" 0.0k ")), "{rows:?}");
}

#[test]
fn brokers_are_measured_beside_their_own_clients() {
    let rows =
        rows(&["brokers", "--in-flight", "16", "--rounds", "1", "--seconds", "0.3", "--answers", "at-once"]);
    assert_eq!(rows.len(), 9, "{rows:?}");
    assert!(rows.iter().all(|row| !row.contains("| 0 |")), "nothing was acked: {rows:?}");
}
