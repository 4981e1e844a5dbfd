//! Three servers that keep streams together, and lose the one that leads.

use std::{sync::Arc, time::Duration};

use busgate_brokers::NatsCluster;
use busgate_core::{Item, Settled, Transport};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::support::{Worker, connect, ids, next, publish, registered, work_on, workers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_die_one_by_one_take_nothing_along() {
    let cluster = NatsCluster::start(3).unwrap();
    let transport = connect(&format!("{}?replicas=3&request_timeout=3s&ack_wait=20s", cluster.url())).await;
    let event = registered(&transport, "orders").await;
    let worker = Worker::start(&transport, work_on(&transport, &event).await);
    let sent = ids("m", 90);
    let mut dead = None;
    for (at, id) in sent.iter().enumerate() {
        publish(&transport, &event, id).await;
        // Each in turn: one of them is the leader of the stream, and one the server we are connected to.
        if at % 30 == 15 {
            if let Some(back) = dead.replace(at / 30) {
                let back: usize = back;
                cluster.nodes()[back].start().unwrap();
                cluster.settled().unwrap();
            }
            cluster.nodes()[at / 30].kill().unwrap();
        }
    }
    worker.done(&sent).await;
    let back = std::mem::take(&mut worker.seen.lock().back);
    assert!(back.is_empty(), "acked, and come back: {back:?}");
    transport.close().await.unwrap();
}

/// Servers tell each other when a message was published, not when it was delivered: to a new leader what is held of older
/// messages looks lost, and it gives them to whoever asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_new_leader_gives_to_another_its_first_holder_can_not_ack() {
    let cluster = NatsCluster::start(3).unwrap();
    let url = format!("{}?replicas=3&ack_wait=3s", cluster.url());
    let (first, second) = (connect(&url).await, connect(&url).await);
    let event = registered(&first, "orders").await;
    let sent = ids("m", 4);
    for id in &sent {
        publish(&first, &event, id).await;
    }
    // Older than a lease at the server.
    sleep(Duration::from_millis(3_500)).await;
    let mut options = workers(Duration::from_secs(30));
    options.max_in_flight = sent.len();
    let mut member = Arc::clone(&first).subscribe(&event, options).await.unwrap();
    let mut held = Vec::new();
    while held.len() < sent.len() {
        held.push(next(&mut member).await);
    }
    let mut other = work_on(&second, &event).await;
    let operator = async_nats::connect(cluster.nodes()[0].url()).await.unwrap();
    let asked = "$JS.API.CONSUMER.LEADER.STEPDOWN.orders.g-default";
    let answer = operator.request(asked, Vec::new().into()).await.unwrap();
    assert!(String::from_utf8_lossy(&answer.payload).contains(r#""success":true"#), "{answer:?}");
    let mut given = Vec::new();
    while let Ok(Some(item)) = timeout(Duration::from_secs(2), other.next()).await {
        let Ok(Item::Delivery(delivery)) = item else { continue };
        given.push(delivery);
    }
    for delivery in held {
        let id = delivery.message.id.clone();
        let is_given = given.iter().any(|other| other.message.id == id);
        let wanted = if is_given { Settled::Stale } else { Settled::Acked };
        assert_eq!(delivery.ack().await.unwrap(), wanted, "{id}, given to another: {is_given}");
    }
    for delivery in given {
        assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
    }
}
