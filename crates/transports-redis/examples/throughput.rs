//! Publishes, takes and acks through the transport and through the plain driver, with the same batches on the same server.
//!
//! Beside the rates it tells how much of the server's own time a message takes: that does not depend on what else runs.
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
            let phases = ["publish", "take and ack", "publish one by one, 256 at a time"];
            for ((what, native), ours) in phases.into_iter().zip(native).zip(ours) {
                let (driver, transport) = (native.rate(), ours.rate());
                println!(
                    "{size} bytes, {what}: driver {driver:.0} k/s ({:.1} us), transport {transport:.0} k/s ({:.1} us), {:.2}",
                    native.server_micros(),
                    ours.server_micros(),
                    transport / driver
                );
            }
        }
    }
}

/// How long a phase took, and how much of the server's time.
#[derive(Clone, Copy)]
struct Taken {
    time: Duration,
    server: f64,
}

impl Taken {
    fn rate(self) -> f64 {
        COUNT as f64 / self.time.as_secs_f64() / 1000.0
    }

    fn server_micros(self) -> f64 {
        self.server * 1e6 / COUNT as f64
    }
}

/// The seconds that the server has worked so far.
async fn worked(connection: &mut MultiplexedConnection) -> f64 {
    let info: String = redis::cmd("INFO").arg("cpu").query_async(connection).await.unwrap();
    let used = |line: &str| {
        line.strip_prefix("used_cpu_user:")
            .or_else(|| line.strip_prefix("used_cpu_sys:"))?
            .trim()
            .parse::<f64>()
            .ok()
    };
    info.lines().filter_map(used).sum()
}

async fn measured(connection: &mut MultiplexedConnection, phase: impl Future<Output = ()>) -> Taken {
    let (started, before) = (Instant::now(), worked(connection).await);
    phase.await;
    Taken { time: started.elapsed(), server: worked(connection).await - before }
}

async fn together<F: Future<Output = ()> + Send + 'static>(calls: impl Iterator<Item = F>) {
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
}

async fn native(url: &str, size: usize) -> [Taken; 3] {
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
    let phase = together((0..LANES).map(|lane| {
        let (mut connection, payload) = (connection.clone(), Arc::clone(&payload));
        async move {
            for batch in 0..COUNT / LANES / BATCH {
                let mut pipeline = redis::pipe();
                (0..BATCH).for_each(|nth| add(&mut pipeline, &payload, lane * COUNT + batch * BATCH + nth));
                pipeline.exec_async(&mut connection).await.unwrap();
            }
        }
    }));
    let mut meter = connection.clone();
    let publish = measured(&mut meter, phase).await;
    let create = redis::cmd("XGROUP").arg(&["CREATE", "bench.native", "g", "0"]).take();
    create.exec_async(&mut first).await.unwrap();

    let take = measured(&mut meter, async { while take_native(&mut first).await > 0 {} }).await;

    let phase = together((0..256).map(|task| {
        let (mut connection, payload) = (connection.clone(), Arc::clone(&payload));
        async move {
            for nth in 0..COUNT / 256 {
                let mut pipeline = redis::pipe();
                add(&mut pipeline, &payload, task * COUNT + nth);
                pipeline.exec_async(&mut connection).await.unwrap();
            }
        }
    }));
    let single = measured(&mut meter, phase).await;
    redis::cmd("DEL").arg("bench.native").exec_async(&mut first).await.unwrap();
    [publish, take, single]
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

async fn ours(url: &str, size: usize) -> [Taken; 3] {
    let transport = RedisTransport::connect(url.parse::<RedisConfig>().unwrap()).await.unwrap();
    let mut meter = Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let event = EventName::new("bench.ours").unwrap();
    let _ = transport.unregister(&event).await;
    transport.register(&event, &EventConfig::default()).await.unwrap();
    let payload = bytes::Bytes::from(vec![b'x'; size]);
    let message = |payload: &bytes::Bytes, id: usize| {
        Message::new(MessageId::new(format!("message-{id:016}")).unwrap(), payload.clone())
    };
    let phase = together((0..LANES).map(|lane| {
        let (transport, event, payload) = (Arc::clone(&transport), event.clone(), payload.clone());
        async move {
            for batch in 0..COUNT / LANES / BATCH {
                let ids = (0..BATCH).map(|nth| message(&payload, lane * COUNT + batch * BATCH + nth));
                let answers = transport.publish(&event, ids.collect()).await;
                assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|receipt| !receipt.duplicate)));
            }
        }
    }));
    let publish = measured(&mut meter, phase).await;
    let take = measured(&mut meter, take_ours(&transport, &event)).await;
    let phase = together((0..256).map(|task| {
        let (transport, event, payload) = (Arc::clone(&transport), event.clone(), payload.clone());
        async move {
            for nth in 0..COUNT / 256 {
                let answers =
                    transport.publish(&event, vec![message(&payload, 10_000_000 + task * COUNT + nth)]).await;
                assert!(answers.iter().all(Result::is_ok));
            }
        }
    }));
    let single = measured(&mut meter, phase).await;
    transport.unregister(&event).await.unwrap();
    [publish, take, single]
}

async fn take_ours(transport: &Arc<RedisTransport>, event: &EventName) {
    let mut options = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
    options.max_in_flight = 1024;

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
}
