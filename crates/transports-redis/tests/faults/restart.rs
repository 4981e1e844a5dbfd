//! A server that is stopped, killed, paused, and one that forgets.

use std::{sync::Arc, time::Duration};

use busgate_brokers::Redis;
use busgate_core::{Effect, ErrorKind, HealthStatus, Start, SubscribeOptions, Transport};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENCE, Worker, connect, message, next, publish, registered, work_on};

fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("{prefix}{nth}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_by_restarts_and_kills() {
    let server = Redis::v7_0().durable().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    let worker = Worker::start(work_on(&transport, &event).await);
    let mut sent = Vec::new();
    for round in 0..3 {
        let more = ids(&format!("r{round}-"), 120);
        for (nth, id) in more.iter().enumerate() {
            if nth == 60 {
                let ended = if round == 1 { server.stop() } else { server.kill() };
                ended.unwrap();
                server.start().unwrap();
            }
            publish(&transport, &event, id).await;
        }
        sent.extend(more);
    }
    worker.finishes(&sent).await;
    let held = transport
        .read(&event, busgate_core::ReadRequest { start: Start::Beginning, limit: 1000, max_bytes: 1 << 20 })
        .await
        .unwrap();
    assert_eq!(held.messages.len(), sent.len(), "each accepted message is held once");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_nothing_is_left_to_a_group_that_is_through() {
    let server = Redis::v7_0().durable().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    let worker = Worker::start(work_on(&transport, &event).await);
    let sent = ids("m", 20);
    for id in &sent {
        publish(&transport, &event, id).await;
    }
    worker.finishes(&sent).await;
    server.kill().unwrap();
    server.start().unwrap();
    let lag = timeout(PATIENCE, async {
        loop {
            match transport.lag(&event).await {
                Ok(lag) => return lag,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    });
    let lag = lag.await.unwrap();
    assert_eq!((lag.len(), lag[0].waiting, lag[0].in_flight), (1, Some(0), 0), "{lag:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_its_data_is_gone_on_with_after_a_gap() {
    let server = Redis::v7_0().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    let worker = Worker::start(work_on(&transport, &event).await);
    let reading = SubscribeOptions::broadcast(Start::Latest);
    let reader = Worker::start(Arc::clone(&transport).subscribe(&event, reading).await.unwrap());
    let old = ids("old", 20);
    for id in &old {
        publish(&transport, &event, id).await;
    }
    worker.finishes(&old).await;
    server.kill().unwrap();
    server.wipe().unwrap();
    server.start().unwrap();
    let new = ids("new", 20);
    for id in &new {
        publish(&transport, &event, id).await;
    }
    worker.finishes(&new).await;
    reader.finishes(&new).await;
    assert!(worker.seen.lock().gaps > 0 && reader.seen.lock().gaps > 0, "the loss is told");
    // And the event is registered again, for everyone.
    let names: Vec<_> = transport.events().await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, [event]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_is_answered_for_in_time_and_gone_on_with() {
    let server = Redis::v7_0().durable().start().unwrap();
    let transport = connect(&format!("{}?timeout=400ms&connect_timeout=1s", server.url())).await;
    let event = registered(&transport, "orders").await;
    let worker = Worker::start(work_on(&transport, &event).await);
    publish(&transport, &event, "before").await;
    server.pause().unwrap();
    let mut unknown = false;
    for _ in 0..3 {
        let asked = Instant::now();
        let answer = transport.publish(&event, vec![message("during")]).await.pop().unwrap();
        let error = answer.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error:?}");
        assert!(asked.elapsed() < Duration::from_secs(4), "answered after {:?}", asked.elapsed());
        unknown |= error.effect() == Effect::Unknown;
    }
    assert!(unknown, "what was sent may have taken effect");
    assert_eq!(transport.health().await.status, HealthStatus::Unhealthy);
    server.resume().unwrap();
    publish(&transport, &event, "during").await;
    publish(&transport, &event, "after").await;
    worker.finishes(&["before", "during", "after"].map(String::from)).await;
    let seen = worker.seen.lock();
    assert!(seen.came.len() == 3, "one message under one id: {:?}", seen.came);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_are_made_again() {
    let server = Redis::v7_0().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    let worker = Worker::start(work_on(&transport, &event).await);
    let client = redis::Client::open(server.url()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    let sent = ids("m", 60);
    for (nth, id) in sent.iter().enumerate() {
        if nth % 15 == 5 {
            for kind in ["normal", "pubsub"] {
                let mut kill = redis::cmd("CLIENT");
                kill.arg("KILL").arg("TYPE").arg(kind).arg("SKIPME").arg("yes");
                kill.exec_async(&mut admin).await.unwrap();
            }
        }
        publish(&transport, &event, id).await;
    }
    worker.finishes(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_settled_after_a_restart_by_another_node() {
    let server = Redis::v7_0().durable().start().unwrap();
    let here = connect(&server.url()).await;
    let event = registered(&here, "orders").await;
    let mut subscription = work_on(&here, &event).await;
    publish(&here, &event, "a").await;
    let held = next(&mut subscription).await;
    server.kill().unwrap();
    server.start().unwrap();
    drop(here);
    let there = connect(&server.url()).await;
    let token = held.token().unwrap().clone();
    let ack = busgate_core::Settlement { token, verb: busgate_core::Verb::Ack };
    assert_eq!(there.settle(vec![ack]).await.pop().unwrap().unwrap(), busgate_core::Settled::Acked);
    let mut other = work_on(&there, &event).await;
    publish(&there, &event, "b").await;
    assert_eq!(next(&mut other).await.message.id.as_str(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_leaves_what_it_read_ahead_uncounted() {
    let server = Redis::v7_0().start().unwrap();
    let (gone, stays) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&gone, "orders").await;
    let mut reads = work_on(&gone, &event).await;
    for id in ids("m", 10) {
        publish(&gone, &event, &id).await;
    }
    next(&mut reads).await.ack().await.unwrap();
    // Dropped as a killed process drops it: nothing is told to anyone.
    std::mem::forget(reads);
    gone.close().await.unwrap();
    let mut works = work_on(&stays, &event).await;
    let asked = Instant::now();
    for _ in 0..9 {
        let delivery = next(&mut works).await;
        assert_eq!(delivery.attempt, 1, "{delivery:?} was never yielded before");
        delivery.ack().await.unwrap();
    }
    assert!(asked.elapsed() < Duration::from_secs(6), "it took {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_waits_out_a_server_that_is_down_for_long() {
    let server = Redis::v7_0().durable().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    let mut works = work_on(&transport, &event).await;
    server.stop().unwrap();
    let quiet = timeout(Duration::from_millis(2500), works.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let answer = transport.publish(&event, vec![message("no")]).await.pop().unwrap();
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
    server.start().unwrap();
    sleep(Duration::from_millis(10)).await;
    publish(&transport, &event, "yes").await;
    let delivery = timeout(PATIENCE, next(&mut works)).await.unwrap();
    assert_eq!(delivery.message.id.as_str(), "yes");
}
