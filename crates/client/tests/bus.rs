//! The typed bus through a gateway: what it does on a local transport it does here.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use busgate::{Config, Server, Sources};
use busgate_client::{
    Broadcaster, Bus, EventName, Failure, Message, ReadRequest, RemoteTransport, Start, Transport,
    broadcaster::Streamed,
    bus::{Event, middleware::Trace},
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{sleep, timeout},
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    id: u64,
}

/// A gateway in this process, the memory behind it, and a bus that is connected to it.
struct Stage {
    server: Server,
    memory: Arc<MemoryTransport>,
    bus: Bus,
    orders: Event<Order>,
}

impl Stage {
    async fn new() -> Self {
        let text = "grpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n";
        let sources = Sources { file: Some(("test.toml".into(), text.into())), ..Sources::none() };
        let memory = MemoryTransport::new(MemoryConfig::default());
        let builder = Server::builder().config(Config::read(&sources).unwrap());
        let server = builder.transport(memory.clone()).start().await.unwrap();
        let bus = Bus::new(connect(&server).await);
        let orders = bus.event::<Order>("orders").unwrap();
        orders.register().await.unwrap();
        Self { server, memory, bus, orders }
    }

    async fn publish(&self, ids: std::ops::Range<u64>) {
        let orders: Vec<_> = ids.map(|id| Order { id }).collect();
        for receipt in self.orders.publish_many(&orders).await {
            receipt.unwrap();
        }
    }

    async fn held(&self, event: &str, count: usize) -> Vec<Arc<Message>> {
        let held = async {
            loop {
                let request = ReadRequest { start: Start::Beginning, limit: 1000, max_bytes: usize::MAX };
                if let Ok(page) = self.memory.read(&EventName::new(event).unwrap(), request).await
                    && page.messages.len() >= count
                {
                    return page.messages.into_iter().map(|(_, message)| message).collect();
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, held).await.unwrap()
    }

    /// How many messages of the group are not done.
    async fn undone(&self) -> u64 {
        let lag = self.memory.lag(self.orders.name()).await.unwrap();
        lag.iter().map(|lag| lag.waiting.unwrap() + lag.in_flight + lag.delayed).sum()
    }

    async fn end(self) {
        self.bus.close().await;
        self.bus.transport().close().await.unwrap();
        self.server.shutdown().await.unwrap();
    }
}

async fn connect(server: &Server) -> Arc<RemoteTransport> {
    RemoteTransport::connect(format!("http://{}", server.addresses().grpc.unwrap())).await.unwrap()
}

async fn next<T>(values: &mut UnboundedReceiver<T>) -> T {
    timeout(PATIENCE, values.recv()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_handler_answers_settles_at_the_gateway() {
    let stage = Stage::new().await;
    let worker =
        stage.orders.subscribe().group("billing").concurrency(4).handle(|order, context| async move {
            match (order.id, context.attempt()) {
                (1, _) => Err(Failure::reject("no such customer")),
                (2, 1) => Err(Failure::retry_after(Duration::from_millis(50))),
                (3, 1) => panic!("not yet"),
                _ => Ok(()),
            }
        });
    let worker = worker.await.unwrap();
    stage.publish(0..100).await;
    let dead = stage.held("_dlq.orders", 1).await;
    assert_eq!(dead[0].metadata["busgate-dlq-last-error"], "no such customer");
    let done = async {
        while worker.stats().handled < 99 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, done).await.unwrap();
    worker.stop().await;
    assert_eq!(stage.undone().await, 0);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_handler_keeps_its_lease_at_the_gateway() {
    let stage = Stage::new().await;
    let (seen, mut attempts) = unbounded_channel();
    let subscribe = stage.orders.subscribe().group("billing").concurrency(2).ack_wait(Duration::from_secs(1));
    let worker = subscribe.handle(move |_, context| {
        let seen = seen.clone();
        async move {
            sleep(Duration::from_secs(4)).await;
            seen.send(context.attempt())?;
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    stage.publish(0..1).await;
    assert_eq!(next(&mut attempts).await, 1);
    worker.stop().await;
    assert!(attempts.recv().await.is_none(), "it was not delivered twice");
    assert_eq!(stage.undone().await, 0);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_goes_back_uncounted() {
    let stage = Stage::new().await;
    stage.publish(0..50).await;
    let mut all = BTreeSet::new();
    // The first holds one of its fifty and is given up with it; the second gets every one of them, as new.
    let stuck =
        stage.orders.subscribe().group("billing").handle(|_, _| std::future::pending()).await.unwrap();
    let leased = async {
        while stage.memory.lag(stage.orders.name()).await.unwrap()[0].in_flight == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, leased).await.unwrap();
    stuck.stop_within(Duration::from_millis(100)).await;

    let (seen, mut orders) = unbounded_channel();
    let worker = stage.orders.subscribe().group("billing").handle(move |order, context| {
        let seen = seen.clone();
        async move {
            seen.send((order.id, context.attempt()))?;
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    for _ in 0..50 {
        let (id, attempt) = next(&mut orders).await;
        assert_eq!(attempt, 1, "of order {id}");
        assert!(all.insert(id), "order {id} came twice");
    }
    worker.stop().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_through_the_gateway() {
    let stage = Stage::new().await;
    let bus =
        Bus::builder(connect(&stage.server).await).source("shop").publishing(Trace).handling(Trace).build();
    let orders = bus.event::<Order>("orders").unwrap();
    let (seen, mut sources) = unbounded_channel();
    let worker = orders.subscribe().group("billing").handle(move |_, context| {
        let seen = seen.clone();
        async move {
            seen.send((context.source().to_owned(), context.meta("traceparent").map(str::len)))?;
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    orders.publish(&Order { id: 1 }).await.unwrap();
    assert_eq!(next(&mut sources).await, (String::from("shop"), Some(55)));
    worker.stop().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_crosses_the_gateway_both_ways() {
    let stage = Stage::new().await;
    let here = Broadcaster::new(stage.memory.clone());
    let there = Broadcaster::new(connect(&stage.server).await);
    let mut local = here.subscribe("orders").await.unwrap();
    let mut remote = there.subscribe("orders").await.unwrap();
    for (number, broadcaster) in [&here, &there].into_iter().enumerate() {
        broadcaster.broadcast("orders", "tick", "", number).await.unwrap();
        for client in [&mut local, &mut remote] {
            let Some(Streamed::Event(event)) = timeout(PATIENCE, client.next()).await.unwrap() else {
                panic!("an event")
            };
            assert_eq!((event.kind.as_str(), &event.data), ("tick", &number.into()));
        }
    }
    there.close().await;
    stage.end().await;
}
