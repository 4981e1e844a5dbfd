//! A full disk refuses what it can't keep, loses nothing, and is forgotten when there is room again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod support;

use std::{env, fs, path::Path, process::Command};

use busgate_core::{ErrorKind, EventConfig, Settled, Transport};
use busgate_transports_log::{LogConfig, LogTransport};
use support::{delivery, event, message, open, pool, publish, read_all, subscribe, until};

/// Publishes until there is no room; answers how many were accepted.
async fn fill(log: &LogTransport, prefix: &str) -> usize {
    for n in 0..100_000 {
        match publish(log, "a", message(format!("{prefix}-{n}"), vec![b'x'; 8000])).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
                assert!(error.retry_after().is_some());
                return n;
            }
        }
    }
    panic!("it never filled up")
}

#[tokio::test]
async fn over_its_limit_it_refuses_and_recovers_when_messages_go() {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig { max_bytes: Some(4 * 1024 * 1024), ..LogConfig::new(directory.path()) };
    let log = LogTransport::open(config).await.unwrap();
    for name in ["a", "b"] {
        log.register(&event(name), &EventConfig::default()).await.unwrap();
    }
    for n in 0..100 {
        publish(&log, "b", message(format!("b-{n}"), vec![b'y'; 8000])).await.unwrap();
    }
    let accepted = fill(&log, "first").await;
    assert!(accepted > 50);
    assert_eq!(read_all(&log, "a").await.unwrap().len(), accepted);
    log.unregister(&event("b")).await.unwrap();
    until("room again", || async { publish(&log, "a", message("again", "small")).await.is_ok() }).await;
    log.close().await.unwrap();
    let log = open(directory.path()).await;
    assert_eq!(read_all(&log, "a").await.unwrap().len(), accepted + 1);
}

/// The name of the small file system: who runs in one is the child.
const SMALL: &str = "small-disk";

/// The same on a real file system of a few megabytes, in a namespace of its own so that no rights are needed. The test
/// starts itself again in there.
#[test]
fn a_full_disk_is_survived() {
    if env::current_dir().unwrap().ends_with(SMALL) {
        return survive_a_full_disk();
    }
    let directory = tempfile::tempdir().unwrap();
    let small = directory.path().join(SMALL);
    fs::create_dir(&small).unwrap();
    let script = r#"mount -t tmpfs -o size=12m tmpfs "$1" || exit 77; cd "$1" && exec "$2" --exact "$3""#;
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .args([&small, &env::current_exe().unwrap(), Path::new("a_full_disk_is_survived")])
        .output();
    let Ok(child) = child else { return missing("unshare (util-linux) is not installed") };
    if child.status.code() == Some(77) || String::from_utf8_lossy(&child.stderr).contains("unshare failed") {
        return missing("no file system can be mounted in a namespace of one's own");
    }
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
}

/// On a machine that can't mount, the law with a bounded size stands for this one; where CI runs it must be tried.
#[allow(clippy::disallowed_methods, reason = "a test asks where it runs")]
fn missing(what: &str) {
    assert!(env::var_os("CI").is_none(), "{what}");
    println!("not tried: {what}");
}

#[tokio::main(flavor = "current_thread")]
async fn survive_a_full_disk() {
    let directory = env::current_dir().unwrap().join("data");
    let pad = env::current_dir().unwrap().join("pad");
    fs::write(&pad, vec![1; 3 * 1024 * 1024]).unwrap();
    let log = open(&directory).await;
    log.register(&event("a"), &EventConfig::default()).await.unwrap();
    let mut members = subscribe(&log, "a", pool()).await;
    let accepted = fill(&log, "first").await;
    let mut known = read_all(&log, "a").await.unwrap();
    assert_eq!(known.len(), accepted);
    // Without room an ack can't be promised, and says so.
    while publish(&log, "a", message(format!("tiny-{}", known.len()), "")).await.is_ok() {
        known = read_all(&log, "a").await.unwrap();
    }
    let refused = delivery(&mut members).await.reject("no room").await;
    assert!(refused.is_err_and(|error| error.kind() == ErrorKind::Exhausted));
    fs::remove_file(&pad).unwrap();
    let more = fill(&log, "second").await;
    assert!(more > 0);
    let all = read_all(&log, "a").await.unwrap();
    assert_eq!(all[..known.len()], known[..]);
    assert_eq!(all.len(), known.len() + more);
    // What was rejected meanwhile is among the dead letters by now, once.
    assert_eq!(read_all(&log, "_dlq.a").await.unwrap().len(), 1);
    let _ = log.close().await;
    drop(members);
    let log = open(&directory).await;
    assert_eq!(read_all(&log, "a").await.unwrap(), all);
    let mut members = subscribe(&log, "a", pool()).await;
    assert_eq!(delivery(&mut members).await.message.id.as_str(), "first-1");
    assert!(matches!(delivery(&mut members).await.ack().await, Ok(Settled::Acked) | Err(_)));
}
