//! One server that ends, is killed, stands still, or forgets.

use std::{sync::Arc, time::Duration};

use busgate_brokers::{Broker, Nats};
use busgate_core::{Effect, ErrorKind, Item, Start, SubscribeOptions, Tasks, Transport};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use super::support::{PATIENCE, Worker, connect, ids, message, next, publish, registered, work_on};

const SHORT: &str = "?request_timeout=2s";

async fn goes_on_through(server: Broker, end: fn(&Broker)) -> Worker {
    let transport = connect(&format!("{}{SHORT}", server.url())).await;
    let event = registered(&transport, "orders").await;
    let mut live =
        Arc::clone(&transport).subscribe(&event, SubscribeOptions::broadcast(Start::Latest)).await.unwrap();
    let worker = Worker::start(&transport, work_on(&transport, &event).await);
    let sent = ids("m", 120);
    let publishing = async {
        for (at, id) in sent.iter().enumerate() {
            if at == 40 {
                end(&server);
                // The publisher meets a server that is away.
                let refused = transport.publish(&event, vec![message("away")]).await.pop().unwrap();
                assert!(refused.is_err_and(|error| error.kind().is_transient()));
                server.start().unwrap();
            }
            publish(&transport, &event, id).await;
        }
    };
    let watching = async {
        for id in sent.iter() {
            loop {
                let found = next(&mut live).await.message.id.to_string();
                if found == *id {
                    break;
                }
                assert_eq!(found, "away", "what comes where `{id}` is next");
            }
        }
    };
    timeout(PATIENCE, async { tokio::join!(publishing, watching) }).await.unwrap();
    worker.done(&sent).await;
    transport.close().await.unwrap();
    worker
}

fn stopped(server: &Broker) {
    server.stop().unwrap();
}

fn killed(server: &Broker) {
    server.kill().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_2_15_loses_nothing_and_brings_nothing_back() {
    let worker = goes_on_through(Nats::v2_15().start().unwrap(), stopped).await;
    assert!(worker.seen.lock().back.is_empty(), "{:?}", worker.seen.lock().back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_2_9_loses_nothing_and_brings_nothing_back() {
    let worker = goes_on_through(Nats::v2_9().start().unwrap(), stopped).await;
    assert!(worker.seen.lock().back.is_empty(), "{:?}", worker.seen.lock().back);
}

/// A single server writes down acks a moment after it answers them: only those of that moment may come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_that_was_accepted() {
    let worker = goes_on_through(Nats::v2_15().start().unwrap(), killed).await;
    let seen = worker.seen.lock();
    assert!(seen.back.len() <= 40, "{:?}", seen.back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_told_in_time() {
    let server = Nats::v2_15().start().unwrap();
    let transport = connect(&format!("{}{SHORT}", server.url())).await;
    let event = registered(&transport, "orders").await;
    let mut member = work_on(&transport, &event).await;
    publish(&transport, &event, "before").await;
    let held = next(&mut member).await;
    server.pause().unwrap();
    let since = Instant::now();
    let refused = transport.publish(&event, vec![message("during")]).await.pop().unwrap().unwrap_err();
    assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Timeout, Effect::Unknown));
    let token = held.token().unwrap().clone();
    let refused = held.ack().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Timeout);
    assert!(since.elapsed() < Duration::from_secs(10), "told after {:?}", since.elapsed());
    server.resume().unwrap();
    // Asked again, both come to their end.
    publish(&transport, &event, "during").await;
    let again = busgate_core::Settlement { token, verb: busgate_core::Verb::Ack };
    transport.settle(vec![again]).await.pop().unwrap().unwrap();
    assert_eq!(next(&mut member).await.message.id.as_str(), "during");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_kept_in_memory_is_gone_with_it() {
    let server = Nats::v2_15().start().unwrap();
    let transport = connect(&format!("{}{SHORT}&storage=memory", server.url())).await;
    assert!(!transport.capabilities().durable);
    let event = registered(&transport, "orders").await;
    let mut member = work_on(&transport, &event).await;
    let mut live =
        Arc::clone(&transport).subscribe(&event, SubscribeOptions::broadcast(Start::Latest)).await.unwrap();
    server.kill().unwrap();
    server.start().unwrap();
    for subscription in [&mut member, &mut live] {
        let last = timeout(PATIENCE, subscription.next()).await.unwrap();
        assert!(last.is_none(), "an event that is gone ends with {last:?}");
    }
    let refused = async {
        loop {
            let refused = transport.publish(&event, vec![message("m")]).await.pop().unwrap().unwrap_err();
            if refused.kind() == ErrorKind::NotFound {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_costs_no_publisher_its_time() {
    let server = Nats::v2_15().start().unwrap();
    let transport = connect(&format!("{}{SHORT}", server.url())).await;
    let event = registered(&transport, "orders").await;
    server.stop().unwrap();
    // The connection is known to be lost after a moment.
    sleep(Duration::from_millis(200)).await;
    let since = Instant::now();
    for _ in 0..100 {
        let refused = transport.publish(&event, vec![message("m")]).await.pop().unwrap().unwrap_err();
        assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Unavailable, Effect::None));
        assert!(refused.retry_after().is_some());
    }
    assert!(since.elapsed() < Duration::from_secs(1), "a hundred refusals took {:?}", since.elapsed());
    server.start().unwrap();
    publish(&transport, &event, "m").await;
    let page = busgate_core::ReadRequest { start: Start::Beginning, limit: 10, max_bytes: 1 << 20 };
    assert_eq!(
        transport.read(&event, page).await.unwrap().messages.len(),
        1,
        "what was refused is not there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_was_is_told_at_once() {
    let port = busgate_brokers::free_port().unwrap();
    let since = Instant::now();
    let url = format!("nats://127.0.0.1:{port}?connect_timeout=1s");
    let refused = busgate_transports_nats::NatsTransport::connect(url.parse().unwrap()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(since.elapsed() < Duration::from_secs(5));
}

/// A subscription that waits is no hot loop, and ends with its owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_waits_for_its_server() {
    let server = Nats::v2_15().start().unwrap();
    let transport = connect(&format!("{}{SHORT}", server.url())).await;
    let event = registered(&transport, "orders").await;
    let mut member = work_on(&transport, &event).await;
    server.stop().unwrap();
    let tasks = Tasks::new();
    let (to, on) = (Arc::clone(&transport), event.clone());
    let started = Arc::new(server);
    let starting = Arc::clone(&started);
    tasks.spawn(async move {
        sleep(Duration::from_secs(2)).await;
        tokio::task::spawn_blocking(move || starting.start().unwrap()).await.unwrap();
        publish(&to, &on, "after").await;
    });
    let found = timeout(PATIENCE, member.next()).await.unwrap();
    assert!(matches!(found, Some(Ok(Item::Delivery(delivery))) if delivery.message.id.as_str() == "after"));
}
