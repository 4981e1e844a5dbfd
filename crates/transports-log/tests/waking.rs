//! Whoever waits is woken by whatever makes room.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use busgate_core::{HealthStatus, RetryPolicy, SubscribeOptions, Transport};
use support::{delivery, open_with, pool, publish_all, read_all, subscribe};

#[tokio::test]
async fn a_window_opens_when_its_lease_ends_among_the_dead_letters() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), &["a"]).await;
    publish_all(&log, "a", 2).await;
    let retry = RetryPolicy { ack_wait: Duration::from_millis(50), max_deliver: 1, ..RetryPolicy::default() };
    let mut member = subscribe(&log, "a", SubscribeOptions { retry, max_in_flight: 1, ..pool() }).await;
    let first = delivery(&mut member).await;
    let second = delivery(&mut member).await;
    assert_ne!(first.cursor, second.cursor);
    assert_eq!(second.attempt, 1);
    support::until("the first is a dead letter", || async {
        read_all(&log, "_dlq.a").await.is_ok_and(|letters| letters.len() == 1)
    })
    .await;
}

/// Health that only looks would be green while delivery is stuck: it sends a message all the way, and leaves no trace.
#[tokio::test]
async fn health_goes_all_the_way_and_shows_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), &["a"]).await;
    for _ in 0..3 {
        let (one, other) = tokio::join!(log.health(), log.health());
        for health in [one, other] {
            assert_eq!(health.status, HealthStatus::Healthy, "{health:?}");
            assert_eq!(health.details["events"], "1");
        }
    }
    assert_eq!(
        read_all(&log, "_probe").await.unwrap().len(),
        1,
        "one message was published, and one is held"
    );
    let names: Vec<_> = log.events().await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, [support::event("a")]);
    log.close().await.unwrap();
    let log = support::open(directory.path()).await;
    assert_eq!(log.health().await.status, HealthStatus::Healthy, "after a restart as well");
    log.close().await.unwrap();
    assert_eq!(log.health().await.status, HealthStatus::Unhealthy);
}
