//! Three servers that keep streams together, and lose the one that leads.

use busgate_brokers::NatsCluster;
use busgate_core::Transport;

use super::support::{Worker, connect, ids, publish, registered, work_on};

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
