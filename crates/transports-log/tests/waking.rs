//! Whoever waits is woken by whatever makes room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use busgate_core::{RetryPolicy, SubscribeOptions};
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
