//! What the tests of the log share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{path::Path, sync::Arc, time::Duration};

use busgate_core::{
    Delivery, EventConfig, EventName, GroupName, Item, Message, MessageId, Page, ReadRequest, Receipt,
    Result, Start, SubscribeOptions, Subscription, Transport,
};
use busgate_transports_log::{LogConfig, LogTransport};
use futures_util::StreamExt;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn event(name: &str) -> EventName {
    EventName::new(name).unwrap()
}

pub(crate) fn message(id: impl AsRef<str>, payload: impl Into<bytes::Bytes>) -> Message {
    Message::new(MessageId::new(id).unwrap(), payload)
}

pub(crate) fn pool() -> SubscribeOptions {
    SubscribeOptions::pool(GroupName::default(), Start::Beginning)
}

pub(crate) async fn open(directory: &Path) -> Arc<LogTransport> {
    LogTransport::open(LogConfig::new(directory)).await.unwrap()
}

pub(crate) async fn open_with(directory: &Path, events: &[&str]) -> Arc<LogTransport> {
    let log = open(directory).await;
    for name in events {
        log.register(&event(name), &EventConfig::default()).await.unwrap();
    }
    log
}

pub(crate) async fn publish(log: &LogTransport, name: &str, message: Message) -> Result<Receipt> {
    log.publish(&event(name), vec![message]).await.pop().unwrap()
}

pub(crate) async fn publish_all(log: &LogTransport, name: &str, count: usize) {
    let batch = (0..count).map(|n| message(format!("id-{n}"), format!("payload {n}"))).collect();
    for receipt in log.publish(&event(name), batch).await {
        receipt.unwrap();
    }
}

pub(crate) async fn subscribe(
    log: &Arc<LogTransport>,
    name: &str,
    options: SubscribeOptions,
) -> Subscription {
    Arc::clone(log).subscribe(&event(name), options).await.unwrap()
}

pub(crate) async fn next(subscription: &mut Subscription) -> Result<Item> {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an item in time").expect("an item")
}

pub(crate) async fn delivery(subscription: &mut Subscription) -> Delivery {
    match next(subscription).await.unwrap() {
        Item::Delivery(delivery) => delivery,
        Item::Gap(gap) => panic!("a gap: {gap:?}"),
    }
}

/// Waits until `holds`, for as long as patience lasts: what the log does by itself, it does by the real clock.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Reads an event from its beginning to its end.
pub(crate) async fn read_all(log: &LogTransport, name: &str) -> Result<Vec<Arc<Message>>> {
    let mut start = Start::Beginning;
    let mut all = Vec::new();
    loop {
        let request = ReadRequest { start, limit: 1000, max_bytes: 1 << 20 };
        let Page { messages, next, end, .. } = log.read(&event(name), request).await?;
        all.extend(messages.into_iter().map(|(_, message)| message));
        if end {
            return Ok(all);
        }
        start = Start::After(next);
    }
}

/// Copies the files of a running log as a kill would leave them.
pub(crate) fn copy_as_killed(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    // The mark first: what it vouches for is in the copies that follow.
    for file in ["mark", "busgate.db-wal", "busgate.db"] {
        if from.join(file).exists() {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}
