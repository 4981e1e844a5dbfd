//! Servers that stand in for each other.

use std::time::Duration;

use busgate_brokers::{Redis, RedisCluster, RedisSentinel};
use busgate_core::{Effect, ErrorKind, Transport};
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, Worker, connect, message, publish, registered, work_on};

fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("{prefix}{nth}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_through_sentinels_loses_nothing_a_replica_had() {
    let set = RedisSentinel::start().unwrap();
    // What a replica has is what a failover keeps.
    let transport =
        connect(&format!("{}&min_replicas=1&min_replicas_timeout=500ms&timeout=2s", set.url())).await;
    let event = registered(&transport, "orders").await;
    let worker = Worker::start(work_on(&transport, &event).await);
    let before = ids("before", 50);
    for id in &before {
        publish(&transport, &event, id).await;
    }
    worker.finishes(&before).await;
    let master = set.master().unwrap().address();
    set.fail_over().unwrap();
    assert_ne!(set.master().unwrap().address(), master);
    let after = ids("after", 50);
    for id in &after {
        publish(&transport, &event, id).await;
    }
    worker.finishes(&after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_is_replaced() {
    let set = RedisSentinel::start().unwrap();
    let transport = connect(&format!("{}&timeout=2s", set.url())).await;
    let event = registered(&transport, "orders").await;
    let worker = Worker::start(work_on(&transport, &event).await);
    let before = ids("before", 20);
    for id in &before {
        publish(&transport, &event, id).await;
    }
    worker.finishes(&before).await;
    sleep(Duration::from_millis(200)).await;
    set.master().unwrap().kill().unwrap();
    let after = ids("after", 20);
    for id in &after {
        publish(&transport, &event, id).await;
    }
    worker.finishes(&after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_replicas_leave_the_effect_open() {
    let master = Redis::v7_0().line("repl-diskless-sync-delay 0").start().unwrap();
    let replica =
        Redis::v7_0().line(format!("replicaof 127.0.0.1 {}", master.address().port())).start().unwrap();
    let url = format!("{}?min_replicas=1&min_replicas_timeout=300ms", master.url());
    let transport = connect(&url).await;
    let event = loop {
        // Until the replica has the master's data.
        let event = crate::support::event("orders");
        if transport.register(&event, &busgate_core::EventConfig::default()).await.is_ok() {
            break event;
        }
        sleep(Duration::from_millis(50)).await;
    };
    publish(&transport, &event, "kept").await;
    replica.pause().unwrap();
    let error = transport.publish(&event, vec![message("open")]).await.pop().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::Unknown), "{error:?}");
    replica.resume().unwrap();
    let again = async {
        loop {
            match transport.publish(&event, vec![message("open")]).await.pop().unwrap() {
                Ok(receipt) => return receipt,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    assert!(timeout(PATIENCE, again).await.unwrap().duplicate, "it was there all along");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_a_master_goes_on_with_its_replica() {
    let cluster = RedisCluster::start(3, 1).unwrap();
    let transport = connect(&format!("{}?timeout=3s", cluster.url())).await;
    // Enough of them that the lost master has some.
    let mut workers = Vec::new();
    for nth in 0..6 {
        let event = registered(&transport, &format!("orders.{nth}")).await;
        workers.push((Worker::start(work_on(&transport, &event).await), event));
    }
    for (worker, event) in &workers {
        publish(&transport, event, "before").await;
        worker.finishes(&["before".into()]).await;
    }
    sleep(Duration::from_millis(200)).await;
    cluster.nodes()[0].kill().unwrap();
    cluster.replaced(0).unwrap();
    for (worker, event) in &workers {
        publish(&transport, event, "after").await;
        worker.finishes(&["after".into()]).await;
    }
}
