//! A thousand reconnects, after which everything is as before.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    EventConfig, GroupName, Item, Message, MessageId, Settled, Start, SubscribeOptions, Subscription,
    Transport,
};
use futures_util::StreamExt;
use tokio::runtime::Handle;

use crate::{
    proxy::{Action, Proxy},
    stage::{Gateway, connected, event, patient, soon, until},
};

/// How many reconnects come before anything is counted: buffers grow to their size, pools fill.
const WARM: usize = 100;

/// How many are counted.
const RECONNECTS: usize = 1000;

/// How much more memory a thousand reconnects may leave in use. One leaked connection of each would be 30 MB and more.
const MEMORY: usize = 6 * 1024 * 1024;

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    tasks: usize,
    files: usize,
    memory: usize,
}

impl Holdings {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("the process's own status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kilobytes: usize = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            files: std::fs::read_dir("/proc/self/fd").expect("the process's own files").count(),
            memory: kilobytes * 1024,
        }
    }
}

async fn message(subscription: &mut Subscription) -> busgate_core::Delivery {
    match soon(subscription.next()).await {
        Some(Ok(Item::Delivery(delivery))) => delivery,
        other => panic!("{other:?}"),
    }
}

/// A program at work: each message goes out, comes to a worker and to a live subscriber, and is acked; then the
/// connection is lost.
struct Work {
    bus: Arc<dyn Transport>,
    proxy: Proxy,
    worker: Subscription,
    live: Subscription,
    sent: usize,
}

impl Work {
    async fn start(gateway: &Gateway) -> Self {
        let proxy = Proxy::start(gateway.address()).await;
        let bus = connected(patient(proxy.url())).await;
        let orders = event("orders");
        // What is held must not grow.
        let config = EventConfig {
            retention_messages: Some(10),
            dedup_window: Some(Duration::ZERO),
            ..EventConfig::default()
        };
        soon(bus.register(&orders, &config)).await.unwrap();
        let pool = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
        let worker = soon(Arc::clone(&bus).subscribe(&orders, pool)).await.unwrap();
        let all = SubscribeOptions::broadcast(Start::Beginning);
        let live = soon(Arc::clone(&bus).subscribe(&orders, all)).await.unwrap();
        Self { bus, proxy, worker, live, sent: 0 }
    }

    async fn reconnect(&mut self, times: usize) {
        for _ in 0..times {
            self.sent += 1;
            let id = MessageId::new(self.sent.to_string()).unwrap();
            let batch = vec![Message::new(id.clone(), vec![0; 500])];
            soon(self.bus.publish(&event("orders"), batch)).await.pop().unwrap().unwrap();
            assert_eq!(message(&mut self.live).await.message.id, id);
            let delivery = message(&mut self.worker).await;
            assert_eq!(delivery.message.id, id);
            assert_eq!(soon(delivery.ack()).await.unwrap(), Settled::Acked);
            self.proxy.strike(if self.sent.is_multiple_of(2) { Action::Reset } else { Action::Cut });
        }
    }

    async fn end(self, gateway: &Gateway) {
        soon(self.bus.close()).await.unwrap();
        drop(self);
        until("no session is left", || gateway.stats().sessions == 0).await;
    }
}

#[tokio::test]
async fn a_thousand_reconnects_leave_no_task_no_file_and_no_memory() {
    let gateway = Gateway::memory().await;
    // The first client leaves behind what the gateway keeps of an event.
    Work::start(&gateway).await.end(&gateway).await;
    let idle = Holdings::now();
    let mut work = Work::start(&gateway).await;
    work.reconnect(WARM).await;
    until("the old connections are gone", || work.proxy.open() <= 1).await;
    let before = Holdings::now();
    work.reconnect(RECONNECTS).await;
    until("the old connections are gone", || work.proxy.open() <= 1).await;
    until("no tasks are left over", || Holdings::now().tasks <= before.tasks).await;
    until("no files are left over", || Holdings::now().files <= before.files).await;
    let after = Holdings::now();
    assert!(after.memory <= before.memory + MEMORY, "{before:?} has become {after:?}");
    assert!(work.proxy.connections() >= RECONNECTS, "only {} connections", work.proxy.connections());
    assert_eq!(gateway.stats().sessions, 2);

    work.end(&gateway).await;
    until("all tasks have ended", || Holdings::now().tasks <= idle.tasks).await;
    until("all files are closed", || Holdings::now().files <= idle.files).await;
}
