//! Damage on disk is found: what is served is what was published, and nothing acknowledged is missing in silence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, path::Path, sync::Arc};

use busgate_core::{ErrorKind, Message, Result, Transport};
use busgate_transports_log::{LogConfig, LogTransport};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use support::{
    copy_as_killed, delivery, event, message, open, open_with, pool, publish_all, read_all, subscribe,
};

/// The header of an SQLite file.
const HEADER_BYTES: usize = 100;

const FILES: [&str; 3] = ["busgate.db", "busgate.db-wal", "mark"];

/// What a log shows of itself.
#[derive(Debug, PartialEq)]
struct Shown {
    events: Vec<(String, Vec<Arc<Message>>)>,
    lags: Vec<Option<u64>>,
}

async fn show(directory: &Path) -> Result<Shown> {
    let log = LogTransport::open(LogConfig::new(directory)).await?;
    let mut shown = Shown { events: Vec::new(), lags: Vec::new() };
    let result = async {
        for info in log.events().await? {
            shown.events.push((info.name.to_string(), read_all(&log, info.name.as_str()).await?));
            shown.lags.extend(log.lag(&info.name).await?.into_iter().map(|lag| lag.waiting));
        }
        Ok(())
    }
    .await;
    let _ = log.close().await;
    result.map(|()| shown)
}

/// A log with messages large and small, two groups and a dead letter; a checkpoint has moved a part of it.
async fn fill(directory: &Path) -> Arc<LogTransport> {
    let log = open_with(directory, &["a", "b"]).await;
    publish_all(&log, "a", 300).await;
    let big = (0..3).map(|n| message(format!("big-{n}"), vec![n; 20_000])).collect();
    for receipt in log.publish(&event("b"), big).await {
        receipt.unwrap();
    }
    log.close().await.unwrap();
    let log = open(directory).await;
    let mut members = subscribe(&log, "a", pool()).await;
    for _ in 0..20 {
        delivery(&mut members).await.ack().await.unwrap();
    }
    delivery(&mut members).await.reject("broken").await.unwrap();
    drop(members);
    let late = (0..100).map(|n| message(format!("late-{n}"), vec![n; 100])).collect();
    for receipt in log.publish(&event("a"), late).await {
        receipt.unwrap();
    }
    log
}

fn flip(file: &Path, at: Index) {
    let mut bytes = fs::read(file).unwrap();
    let bit = at.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(file, bytes).unwrap();
}

/// Flips one bit at a time in a copy of `image` and looks what becomes of it.
fn flip_and_show(image: &Path, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let whole = tempfile::tempdir().unwrap();
    copy_as_killed(image, whole.path());
    let expected = runtime.block_on(show(whole.path())).unwrap();
    assert_eq!(expected.events.len(), 3);
    let files: Vec<_> = FILES.into_iter().filter(|file| image.join(file).exists()).collect();
    let mut detected = 0;
    let mut runner =
        TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let law = |(file, at): (Index, Index)| {
        let copy = tempfile::tempdir().unwrap();
        copy_as_killed(image, copy.path());
        flip(&copy.path().join(files[file.index(files.len())]), at);
        match runtime.block_on(show(copy.path())) {
            Ok(shown) => prop_assert!(shown == expected, "served something else"),
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Internal, "{}", error),
        }
        Ok(())
    };
    runner.run(&(any::<Index>(), any::<Index>()), law).unwrap();
    // The law must be able to fail: some flips hit what matters.
    for step in 0..40_usize {
        let copy = tempfile::tempdir().unwrap();
        copy_as_killed(image, copy.path());
        let file = copy.path().join(files[0]);
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.len() / 40 * step;
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        detected += u32::from(runtime.block_on(show(copy.path())).is_err());
    }
    assert!(detected > 10, "only {detected} of 40 flips were noticed");
}

#[test]
fn flipped_bits_are_never_served_after_a_close() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { fill(directory.path()).await.close().await.unwrap() });
    flip_and_show(directory.path(), 300);
}

#[test]
fn flipped_bits_are_never_served_after_a_kill() {
    let (directory, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _log = runtime.block_on(fill(directory.path()));
    copy_as_killed(directory.path(), image.path());
    flip_and_show(image.path(), 300);
}

/// The header decides how all the rest is read.
#[test]
fn no_bit_of_the_header_goes_unnoticed_or_changes_what_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { fill(directory.path()).await.close().await.unwrap() });
    let expected = runtime.block_on(show(directory.path())).unwrap();
    for bit in 0..HEADER_BYTES * 8 {
        let copy = tempfile::tempdir().unwrap();
        copy_as_killed(directory.path(), copy.path());
        let file = copy.path().join(FILES[0]);
        let mut bytes = fs::read(&file).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, bytes).unwrap();
        match runtime.block_on(show(copy.path())) {
            Ok(shown) => assert!(shown == expected, "bit {bit}: served something else"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Internal, "bit {bit}: {error}"),
        }
    }
}

/// The image of a kill, and what it holds.
async fn killed() -> (tempfile::TempDir, Shown) {
    let (directory, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = fill(directory.path()).await;
    copy_as_killed(directory.path(), image.path());
    drop(log);
    let copy = tempfile::tempdir().unwrap();
    copy_as_killed(image.path(), copy.path());
    let shown = show(copy.path()).await.unwrap();
    (image, shown)
}

#[tokio::test]
async fn a_torn_tail_that_nobody_was_told_of_is_cut_off() {
    let (image, expected) = killed().await;
    let wal = image.path().join("busgate.db-wal");
    let mut bytes = fs::read(&wal).unwrap();
    let half_a_frame = bytes[bytes.len() - 3000..].to_vec();
    bytes.extend(half_a_frame);
    fs::write(&wal, bytes).unwrap();
    assert_eq!(show(image.path()).await.unwrap(), expected);
}

#[tokio::test]
async fn a_cut_log_is_noticed() {
    let (image, _) = killed().await;
    let wal = image.path().join("busgate.db-wal");
    let length = fs::metadata(&wal).unwrap().len();
    for cut in [0, length / 2, length - 1] {
        let copy = tempfile::tempdir().unwrap();
        copy_as_killed(image.path(), copy.path());
        fs::OpenOptions::new()
            .write(true)
            .open(copy.path().join("busgate.db-wal"))
            .unwrap()
            .set_len(cut)
            .unwrap();
        let error = show(copy.path()).await.unwrap_err();
        assert!(error.message().contains("damaged"), "{error}");
    }
}

#[tokio::test]
async fn a_lost_database_is_noticed() {
    let (image, _) = killed().await;
    for file in ["busgate.db", "busgate.db-wal"] {
        fs::remove_file(image.path().join(file)).unwrap();
    }
    assert_eq!(show(image.path()).await.unwrap_err().kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_lost_mark_costs_nothing() {
    let (image, expected) = killed().await;
    fs::remove_file(image.path().join("mark")).unwrap();
    assert_eq!(show(image.path()).await.unwrap(), expected);
}

/// Each way in which rows could go missing or come back without a checksum of theirs being wrong.
#[tokio::test]
async fn rows_that_are_missing_or_stale_are_noticed() {
    let (image, _) = killed().await;
    for statement in [
        "DELETE FROM message WHERE event = 1 AND offset = 7",
        "DELETE FROM message WHERE event = 1 AND offset = 0",
        "DELETE FROM message WHERE event = 1 AND offset >= 390",
        "DELETE FROM message",
        "UPDATE message SET offset = 1000 WHERE event = 1 AND offset = 399",
        "UPDATE message SET record = (SELECT record FROM message WHERE event = 1 AND offset = 3)
         WHERE event = 1 AND offset = 4",
        "DELETE FROM state WHERE substr(key, 1, 1) = CAST('g' AS BLOB)",
        "DELETE FROM state WHERE substr(key, 1, 1) = CAST('e' AS BLOB)",
        "DELETE FROM state WHERE length(key) = 0",
        "DELETE FROM state",
        "DROP TABLE message",
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_as_killed(image.path(), copy.path());
        let database = rusqlite::Connection::open(copy.path().join("busgate.db")).unwrap();
        database.execute_batch(statement).unwrap();
        drop(database);
        let error = show(copy.path()).await.expect_err(statement);
        assert_eq!(error.kind(), ErrorKind::Internal, "{statement}: {error}");
    }
}

/// Nobody has to read an event to be told that its ends are gone.
#[tokio::test]
async fn a_shortened_event_is_noticed_at_opening() {
    let (image, _) = killed().await;
    for end in ["offset = 0", "offset >= 390", "offset >= 0"] {
        let copy = tempfile::tempdir().unwrap();
        copy_as_killed(image.path(), copy.path());
        let database = rusqlite::Connection::open(copy.path().join("busgate.db")).unwrap();
        database.execute_batch(&format!("DELETE FROM message WHERE event = 1 AND {end}")).unwrap();
        drop(database);
        let error = LogTransport::open(LogConfig::new(copy.path())).await.expect_err(end);
        assert_eq!(error.kind(), ErrorKind::Internal, "{end}: {error}");
    }
}

#[tokio::test]
async fn damage_in_one_event_leaves_the_others_readable() {
    let (image, expected) = killed().await;
    let database = rusqlite::Connection::open(image.path().join("busgate.db")).unwrap();
    database
        .execute_batch("UPDATE message SET record = zeroblob(90) WHERE event = 1 AND offset = 3")
        .unwrap();
    drop(database);
    let log = open(image.path()).await;
    assert_eq!(read_all(&log, "a").await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(read_all(&log, "b").await.unwrap(), expected.events[2].1);
    publish_all(&log, "b", 1).await;
}
