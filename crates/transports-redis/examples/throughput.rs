//! Publishes, takes and acks through the transport and through the plain driver, with the same batches on the same server.
//!
//!     cargo run --release -p busgate-transports-redis --example throughput -- redis://127.0.0.1:6379
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "it measures, and fails by panicking"
)]

use std::{sync::Arc, time::Duration};

use busgate_core::{
    EventConfig, EventName, GroupName, Item, Message, MessageId, Settlement, Start, SubscribeOptions, Tasks,
    Transport, Verb,
};
use busgate_transports_redis::{RedisConfig, RedisTransport};
use futures_util::{StreamExt, future::join_all};
use redis::{Client, Value, aio::MultiplexedConnection};
use tokio::time::Instant;

const COUNT: usize = 100_000;
const BATCH: usize = 64;
const LANES: usize = 4;

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".into());
    for size in [128, 1024] {
        for round in 0..2 {
            let native = native(&url, size).await;
            let ours = ours(&url, size).await;
            if round == 0 {
                continue;
            }
            for (what, native, ours) in [
                ("publish", native.0, ours.0),
                ("take and ack", native.1, ours.1),
                ("publish one by one, 256 at a time", native.2, ours.2),
            ] {
                let rate = |taken: Duration| COUNT as f64 / taken.as_secs_f64() / 1000.0;
                let (native, ours) = (rate(native), rate(ours));
                println!(
                    "{size} bytes, {what}: driver {native:.0} k/s, transport {ours:.0} k/s, {:.2}",
                    ours / native
                );
            }
        }
    }
}

async fn together<F: Future<Output = ()> + Send + 'static>(calls: impl Iterator<Item = F>) -> Duration {
    let started = Instant::now();
    let tasks = Tasks::new();
    let done = calls.map(|call| {
        let (done, waits) = tokio::sync::oneshot::channel();
        tasks.spawn(async move {
            call.await;
            let _ = done.send(());
        });
        waits
    });
    for done in join_all(done.collect::<Vec<_>>()).await {
        done.unwrap();
    }
    started.elapsed()
}

async fn native(url: &str, size: usize) -> (Duration, Duration, Duration) {
    let client = Client::open(url).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let payload = Arc::new(vec![b'x'; size]);
    let add = |pipeline: &mut redis::Pipeline, payload: &[u8], id: usize| {
        pipeline
            .cmd("XADD")
            .arg("bench.native")
            .arg("*")
            .arg("id")
            .arg(format!("message-{id:016}"))
            .arg("ts");
        pipeline.arg(1_700_000_000_000_u64).arg("payload").arg(payload);
    };
    let mut first = connection.clone();
    redis::cmd("DEL").arg("bench.native").exec_async(&mut first).await.unwrap();
    let publish = together((0..LANES).map(|lane| {
        let (mut connection, payload) = (connection.clone(), Arc::clone(&payload));
        async move {
            for batch in 0..COUNT / LANES / BATCH {
                let mut pipeline = redis::pipe();
                (0..BATCH).for_each(|nth| add(&mut pipeline, &payload, lane * COUNT + batch * BATCH + nth));
                pipeline.exec_async(&mut connection).await.unwrap();
            }
        }
    }))
    .await;
    let create = redis::cmd("XGROUP").arg(&["CREATE", "bench.native", "g", "0"]).take();
    create.exec_async(&mut first).await.unwrap();
    let started = Instant::now();
    while take_native(&mut first).await > 0 {}
    let take = started.elapsed();
    let single = together((0..256).map(|task| {
        let (mut connection, payload) = (connection.clone(), Arc::clone(&payload));
        async move {
            for nth in 0..COUNT / 256 {
                let mut pipeline = redis::pipe();
                add(&mut pipeline, &payload, task * COUNT + nth);
                pipeline.exec_async(&mut connection).await.unwrap();
            }
        }
    }))
    .await;
    redis::cmd("DEL").arg("bench.native").exec_async(&mut first).await.unwrap();
    (publish, take, single)
}

async fn take_native(connection: &mut MultiplexedConnection) -> usize {
    let mut read = redis::cmd("XREADGROUP");
    read.arg(&["GROUP", "g", "c", "COUNT", "128", "STREAMS", "bench.native", ">"]);
    let found: Value = read.query_async(connection).await.unwrap();
    let Value::Array(streams) = found else { return 0 };
    let Some(Value::Array(stream)) = streams.into_iter().next() else { return 0 };
    let Some(Value::Array(entries)) = stream.into_iter().nth(1) else { return 0 };
    let mut ack = redis::cmd("XACK");
    ack.arg("bench.native").arg("g");
    for entry in &entries {
        if let Value::Array(parts) = entry
            && let Some(Value::BulkString(id)) = parts.first()
        {
            ack.arg(id);
        }
    }
    ack.exec_async(connection).await.unwrap();
    entries.len()
}

async fn ours(url: &str, size: usize) -> (Duration, Duration, Duration) {
    let transport = RedisTransport::connect(url.parse::<RedisConfig>().unwrap()).await.unwrap();
    let event = EventName::new("bench.ours").unwrap();
    let _ = transport.unregister(&event).await;
    transport.register(&event, &EventConfig::default()).await.unwrap();
    let payload = bytes::Bytes::from(vec![b'x'; size]);
    let message = |payload: &bytes::Bytes, id: usize| {
        Message::new(MessageId::new(format!("message-{id:016}")).unwrap(), payload.clone())
    };
    let publish = together((0..LANES).map(|lane| {
        let (transport, event, payload) = (Arc::clone(&transport), event.clone(), payload.clone());
        async move {
            for batch in 0..COUNT / LANES / BATCH {
                let ids = (0..BATCH).map(|nth| message(&payload, lane * COUNT + batch * BATCH + nth));
                let answers = transport.publish(&event, ids.collect()).await;
                assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|receipt| !receipt.duplicate)));
            }
        }
    }))
    .await;
    let take = take_ours(&transport, &event).await;
    let single = together((0..256).map(|task| {
        let (transport, event, payload) = (Arc::clone(&transport), event.clone(), payload.clone());
        async move {
            for nth in 0..COUNT / 256 {
                let answers =
                    transport.publish(&event, vec![message(&payload, 10_000_000 + task * COUNT + nth)]).await;
                assert!(answers.iter().all(Result::is_ok));
            }
        }
    }))
    .await;
    transport.unregister(&event).await.unwrap();
    (publish, take, single)
}

async fn take_ours(transport: &Arc<RedisTransport>, event: &EventName) -> Duration {
    let mut options = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
    options.max_in_flight = 1024;
    let started = Instant::now();
    let mut works = Arc::clone(transport).subscribe(event, options).await.unwrap();
    let (mut left, mut batch) = (COUNT / LANES / BATCH * BATCH * LANES, Vec::new());
    while left > 0 {
        let Some(Ok(Item::Delivery(delivery))) = works.next().await else { panic!("it ended") };
        batch.push(Settlement { token: delivery.token().unwrap().clone(), verb: Verb::Ack });
        left -= 1;
        if batch.len() == 128 || left == 0 {
            let answers = transport.settle(std::mem::take(&mut batch)).await;
            assert!(answers.iter().all(Result::is_ok));
        }
    }
    started.elapsed()
}
