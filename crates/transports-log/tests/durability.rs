//! What is answered is on disk: every kind of state survives both a close and a kill.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use busgate_core::{
    ConsumerName, EventConfig, GroupName, Item, Nack, Settled, Start, SubscribeOptions, Transport,
};
use busgate_transports_log::{LogConfig, LogTransport};
use support::{
    copy_as_killed, delivery, event, message, next, open, open_with, pool, publish, publish_all, read_all,
    subscribe, until,
};
use tempfile::TempDir;

/// Ends the log as `killed` says, and opens what it left.
async fn reopen(log: Arc<LogTransport>, directory: &mut TempDir, killed: bool) -> Arc<LogTransport> {
    if killed {
        let copy = tempfile::tempdir().unwrap();
        copy_as_killed(directory.path(), copy.path());
        *directory = copy;
        drop(log);
    } else {
        log.close().await.unwrap();
    }
    open(directory.path()).await
}

#[tokio::test]
async fn messages_and_registrations_survive() {
    for killed in [false, true] {
        let mut directory = tempfile::tempdir().unwrap();
        let log = open_with(directory.path(), &["a", "b"]).await;
        let config = EventConfig { retention_messages: Some(7), ..EventConfig::default() };
        log.register(&event("c"), &config).await.unwrap();
        let mut sent = message("id-x", vec![0, 255, 10, 13]);
        sent.metadata = BTreeMap::from([("Key".into(), "värde".into())]);
        sent.key = Some("k".into());
        sent.content_type = Some("text/plain".into());
        sent.source = "me".into();
        let receipt = publish(&log, "a", sent.clone()).await.unwrap();
        publish_all(&log, "b", 100).await;
        log.unregister(&event("b")).await.unwrap();
        let log = reopen(log, &mut directory, killed).await;
        let infos = log.events().await.unwrap();
        let names: Vec<_> = infos.iter().map(|info| info.name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(infos[1].config, config);
        assert_eq!(infos[0].newest, receipt.cursor);
        assert_eq!(*read_all(&log, "a").await.unwrap()[0], sent);
    }
}

#[tokio::test]
async fn an_answered_ack_is_never_redelivered() {
    for killed in [false, true] {
        let mut directory = tempfile::tempdir().unwrap();
        let log = open_with(directory.path(), &["a"]).await;
        publish_all(&log, "a", 5).await;
        let mut members = subscribe(&log, "a", pool()).await;
        let mut deliveries = Vec::new();
        for _ in 0..4 {
            deliveries.push(delivery(&mut members).await);
        }
        for acked in [3, 1] {
            assert_eq!(deliveries.remove(acked).ack().await.unwrap(), Settled::Acked);
        }
        let log = reopen(log, &mut directory, killed).await;
        let mut members = subscribe(&log, "a", pool()).await;
        let mut again = Vec::new();
        for _ in 0..3 {
            again.push(delivery(&mut members).await.message.id.to_string());
        }
        again.sort();
        assert_eq!(again, ["id-0", "id-2", "id-4"]);
    }
}

#[tokio::test]
async fn attempts_survive_though_nobody_settled() {
    for killed in [false, true] {
        let mut directory = tempfile::tempdir().unwrap();
        let mut log = open_with(directory.path(), &["a", "other"]).await;
        publish_all(&log, "a", 1).await;
        for attempt in 1..=3 {
            let mut members = subscribe(&log, "a", pool()).await;
            assert_eq!(delivery(&mut members).await.attempt, attempt);
            drop(members);
            // Nobody waits for an attempt to be written down: it is, with whatever is written next.
            publish(&log, "other", message(format!("{attempt}"), "")).await.unwrap();
            log = reopen(log, &mut directory, killed).await;
        }
    }
}

#[tokio::test]
async fn an_attempt_is_written_down_though_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), &["a"]).await;
    publish_all(&log, "a", 1).await;
    let mut members = subscribe(&log, "a", pool()).await;
    delivery(&mut members).await;
    until("the second attempt", || async {
        let copy = tempfile::tempdir().unwrap();
        copy_as_killed(directory.path(), copy.path());
        let mut again = subscribe(&open(copy.path()).await, "a", pool()).await;
        delivery(&mut again).await.attempt == 2
    })
    .await;
}

#[tokio::test]
async fn a_delay_survives() {
    let mut directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), &["a"]).await;
    publish_all(&log, "a", 2).await;
    let mut members = subscribe(&log, "a", pool()).await;
    let nack = Nack { delay: Some(Duration::from_secs(3600)), error: Some("later".into()) };
    delivery(&mut members).await.nack(nack).await.unwrap();
    let log = reopen(log, &mut directory, true).await;
    let lag = log.lag(&event("a")).await.unwrap();
    assert_eq!((lag[0].delayed, lag[0].waiting), (1, Some(2)));
    let mut members = subscribe(&log, "a", pool()).await;
    assert_eq!(delivery(&mut members).await.message.id.as_str(), "id-1");
}

#[tokio::test]
async fn checkpoints_survive() {
    for killed in [false, true] {
        let mut directory = tempfile::tempdir().unwrap();
        let log = open_with(directory.path(), &["a"]).await;
        publish_all(&log, "a", 4).await;
        let named = || SubscribeOptions::consumer(ConsumerName::new("me").unwrap(), Start::Beginning);
        let mut mine = subscribe(&log, "a", named()).await;
        for _ in 0..2 {
            delivery(&mut mine).await.ack().await.unwrap();
        }
        let log = reopen(log, &mut directory, killed).await;
        let mut mine = subscribe(&log, "a", named()).await;
        assert_eq!(delivery(&mut mine).await.message.id.as_str(), "id-2");
    }
}

#[tokio::test]
async fn a_group_that_was_never_served_keeps_its_start() {
    let mut directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), &["a"]).await;
    publish_all(&log, "a", 2).await;
    let late = || SubscribeOptions::pool(GroupName::default(), Start::Latest);
    drop(subscribe(&log, "a", late()).await);
    publish(&log, "a", message("after", "")).await.unwrap();
    let log = reopen(log, &mut directory, true).await;
    let mut members = subscribe(&log, "a", late()).await;
    assert_eq!(delivery(&mut members).await.message.id.as_str(), "after");
}

#[tokio::test]
async fn dead_letters_survive_and_are_written_once() {
    for killed in [false, true] {
        let mut directory = tempfile::tempdir().unwrap();
        let log = open_with(directory.path(), &["a"]).await;
        publish_all(&log, "a", 1).await;
        let mut members = subscribe(&log, "a", pool()).await;
        let answer = delivery(&mut members).await.reject("broken").await.unwrap();
        assert_eq!(answer, Settled::Rejected);
        let log = reopen(log, &mut directory, killed).await;
        let letters = read_all(&log, "_dlq.a").await.unwrap();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].payload, "payload 0");
        assert_eq!(letters[0].metadata["busgate-dlq-last-error"], "broken");
        assert_eq!(log.lag(&event("a")).await.unwrap()[0].waiting, Some(0));
    }
}

#[tokio::test]
async fn a_dead_letter_needs_no_room_among_the_events() {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig { max_events: 1, ..LogConfig::new(directory.path()) };
    let log = LogTransport::open(config).await.unwrap();
    log.register(&event("a"), &EventConfig::default()).await.unwrap();
    assert!(log.register(&event("b"), &EventConfig::default()).await.is_err());
    publish_all(&log, "a", 1).await;
    let mut member = subscribe(&log, "a", pool()).await;
    assert_eq!(delivery(&mut member).await.reject("bad").await.unwrap(), Settled::Rejected);
    until("the dead letter", || async {
        read_all(&log, "_dlq.a").await.is_ok_and(|letters| letters.len() == 1)
    })
    .await;
}

#[tokio::test]
async fn the_deduplication_window_survives() {
    for killed in [false, true] {
        let mut directory = tempfile::tempdir().unwrap();
        let log = open_with(directory.path(), &["a"]).await;
        let first = publish(&log, "a", message("once", "1")).await.unwrap();
        let log = reopen(log, &mut directory, killed).await;
        let again = publish(&log, "a", message("once", "2")).await.unwrap();
        assert!(again.duplicate);
        assert_eq!(again.cursor, first.cursor);
    }
}

#[tokio::test]
async fn a_cursor_of_an_earlier_registration_is_a_gap() {
    let mut directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), &["a"]).await;
    publish_all(&log, "a", 3).await;
    let old = publish(&log, "a", message("old", "")).await.unwrap().cursor.unwrap();
    log.unregister(&event("a")).await.unwrap();
    log.register(&event("a"), &EventConfig::default()).await.unwrap();
    publish_all(&log, "a", 9).await;
    let log = reopen(log, &mut directory, false).await;
    let mut all = subscribe(&log, "a", SubscribeOptions::broadcast(Start::After(old))).await;
    assert!(matches!(next(&mut all).await.unwrap(), Item::Gap(_)));
    assert_eq!(delivery(&mut all).await.message.id.as_str(), "id-0");
}

#[tokio::test]
async fn a_second_owner_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _log = open(directory.path()).await;
    let error = LogTransport::open(LogConfig::new(directory.path())).await.unwrap_err();
    assert_eq!(error.kind(), busgate_core::ErrorKind::Exists);
    assert!(error.message().contains("in use by another process"), "{error}");
}

#[tokio::test]
async fn an_unregistered_events_messages_are_deleted_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), &["a"]).await;
    publish_all(&log, "a", 5000).await;
    log.unregister(&event("a")).await.unwrap();
    let database = rusqlite::Connection::open(directory.path().join("busgate.db")).unwrap();
    let left = || database.query_row("SELECT count(*) FROM message", [], |row| row.get::<_, i64>(0)).unwrap();
    until("nothing is left", || std::future::ready(left() == 0)).await;
    drop(database);
    log.close().await.unwrap();
}
