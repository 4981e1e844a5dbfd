//! What retention lets go of is a gap, and what it must not touch stays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use busgate_core::{Clock, EventConfig, GroupName, Item, Start, SubscribeOptions, Timestamp, Transport};
use busgate_transports_log::{LogConfig, LogTransport};
use support::{delivery, event, message, next, open, pool, publish, publish_all, read_all, subscribe, until};

/// Larger than one read from disk.
const BACKLOG: usize = 600;

#[derive(Debug, Default)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

async fn open_with(config: EventConfig) -> (tempfile::TempDir, Arc<LogTransport>, Arc<HandClock>) {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::default());
    let config_of_log = LogConfig { clock: Arc::clone(&clock) as _, ..LogConfig::new(directory.path()) };
    let log = LogTransport::open(config_of_log).await.unwrap();
    log.register(&event("a"), &config).await.unwrap();
    (directory, log, clock)
}

async fn held(log: &LogTransport) -> u64 {
    log.events().await.unwrap()[0].messages.unwrap()
}

#[tokio::test]
async fn a_count_is_kept_and_the_rest_is_a_gap() {
    let config = EventConfig { retention_messages: Some(10), ..EventConfig::default() };
    let (_directory, log, _) = open_with(config).await;
    let first = publish(&log, "a", message("first", "")).await.unwrap().cursor.unwrap();
    let mut slow = subscribe(&log, "a", SubscribeOptions::broadcast(Start::After(first.clone()))).await;
    publish_all(&log, "a", 100).await;
    assert_eq!(held(&log).await, 10);
    for subscription in
        [&mut slow, &mut subscribe(&log, "a", SubscribeOptions::broadcast(Start::After(first))).await]
    {
        let Item::Gap(gap) = next(subscription).await.unwrap() else { panic!("no gap") };
        assert_eq!(gap.missed, Some(90));
        let goes_on = delivery(subscription).await;
        assert_eq!(goes_on.message.id.as_str(), "id-90");
        let after = SubscribeOptions::broadcast(Start::After(gap.cursor.unwrap()));
        let mut after = subscribe(&log, "a", after).await;
        assert_eq!(delivery(&mut after).await.cursor, goes_on.cursor);
    }
}

#[tokio::test]
async fn a_group_is_told_what_it_will_never_get() {
    let config = EventConfig { retention_messages: Some(10), ..EventConfig::default() };
    let (directory, log, _) = open_with(config).await;
    let mut members = subscribe(&log, "a", pool()).await;
    publish_all(&log, "a", 100).await;
    let Item::Gap(gap) = next(&mut members).await.unwrap() else { panic!("no gap") };
    assert_eq!(gap.missed, Some(90));
    assert_eq!(delivery(&mut members).await.message.id.as_str(), "id-90");
    log.close().await.unwrap();
    let log = open(directory.path()).await;
    assert_eq!(log.lag(&event("a")).await.unwrap()[0].waiting, Some(10));
}

#[tokio::test]
async fn bytes_are_kept_within_their_limit() {
    let config = EventConfig { retention_bytes: Some(100_000), ..EventConfig::default() };
    let (directory, log, _) = open_with(config).await;
    for n in 0..200 {
        publish(&log, "a", message(format!("id-{n}"), vec![7; 1000])).await.unwrap();
    }
    let info = log.events().await.unwrap().remove(0);
    assert!(info.bytes.unwrap() <= 100_000 && info.messages.unwrap() >= 90, "{info:?}");
    assert_eq!(read_all(&log, "a").await.unwrap().len() as u64, info.messages.unwrap());
    log.close().await.unwrap();
    let again = open(directory.path()).await.events().await.unwrap().remove(0);
    assert_eq!(again, info);
}

#[tokio::test]
async fn age_counts_from_arrival() {
    let config = EventConfig { retention_age: Some(Duration::from_secs(60)), ..EventConfig::default() };
    let (_directory, log, clock) = open_with(config).await;
    publish_all(&log, "a", 5).await;
    clock.0.store(40_000, Ordering::Relaxed);
    publish(&log, "a", message("young", "")).await.unwrap();
    clock.0.store(70_000, Ordering::Relaxed);
    until("the old ones go", || async { held(&log).await == 1 }).await;
    assert_eq!(read_all(&log, "a").await.unwrap()[0].id.as_str(), "young");
}

#[tokio::test]
async fn a_large_backlog_is_drained_from_disk_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig { tail_messages: 16, ..LogConfig::new(directory.path()) };
    let log = LogTransport::open(config).await.unwrap();
    log.register(&event("a"), &EventConfig::default()).await.unwrap();
    publish_all(&log, "a", BACKLOG).await;
    let mut all = subscribe(&log, "a", SubscribeOptions::broadcast(Start::Beginning)).await;
    let mut members = subscribe(&log, "a", pool()).await;
    let two = SubscribeOptions::pool(GroupName::new("two").unwrap(), Start::Beginning);
    let mut others = [subscribe(&log, "a", two.clone()).await, subscribe(&log, "a", two).await];
    let mut seen = 0_usize;
    for n in 0..BACKLOG {
        let id = format!("id-{n}");
        assert_eq!(delivery(&mut all).await.message.id.as_str(), id);
        let mine = delivery(&mut members).await;
        assert_eq!(mine.message.id.as_str(), id);
        mine.ack().await.unwrap();
        if n % 2 == 0 {
            for other in &mut others {
                delivery(other).await.ack().await.unwrap();
                seen += 1;
            }
        }
    }
    assert_eq!(seen, BACKLOG);
    assert!(
        log.lag(&event("a")).await.unwrap().iter().all(|lag| lag.waiting == Some(0) && lag.in_flight == 0)
    );
}
