//! `busgate bench`: a plain load of publishes, to see what a gateway does on this machine.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use busgate_client::RemoteTransport;
use busgate_core::{EventConfig, EventName, Message, MessageId, Result, Transport};
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::{args::Bench, client::connect, say};
use crate::config::Environment;

/// Publishes `messages`, at most `in_flight` at a time, and tells the rate and the latencies.
pub(super) async fn run(bench: Bench, environment: &Environment) -> Result<ExitCode> {
    let event = EventName::new(&bench.event)?;
    let client = connect(&bench.target, environment).await?;
    client.register(&event, &EventConfig::default()).await?;
    let left = Arc::new(AtomicU64::new(bench.messages));
    let payload = Bytes::from(vec![b'x'; bench.size]);
    let started = Instant::now();
    let lanes = (0..bench.in_flight).map(|_| lane(&client, &event, &payload, &left));
    let mut latencies = try_join_all(lanes).await?.concat();
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
    Ok(say(&format!(
        "{} messages of {} bytes in {elapsed:.2?}: {rate:.0} a second, p50 {:.0?}, p99 {:.0?}\n",
        latencies.len(),
        bench.size,
        at(50),
        at(99)
    )))
}

async fn lane(
    client: &RemoteTransport,
    event: &EventName,
    payload: &Bytes,
    left: &AtomicU64,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let message = Message::new(MessageId::generate(), payload.clone());
        let sent = Instant::now();
        client.publish(event, vec![message]).await.into_iter().collect::<Result<Vec<_>>>()?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}
