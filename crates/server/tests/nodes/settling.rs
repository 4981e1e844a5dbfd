//! What one node delivered, another settles.

use std::time::Duration;

use busgate_client::EventName;
use busgate_core::{
    Delivery, GroupName, Item, Settled, Settlement, Start, SubscribeOptions, Subscription, Verb,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::Instant};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::{
    backend::Backend,
    client::{Event, EventStream},
    node::{Node, PATIENCE},
};

const EVENT: &str = "orders";

/// A lease that no test waits for, and one that every test can wait for.
const LONG: &str = "60s";
const SHORT: &str = "2s";

/// Two nodes on one broker, which has one message.
async fn two_nodes(backend: Backend) -> [Node; 2] {
    let url = backend.shared();
    let nodes = [Node::serve(&url), Node::serve(&url)];
    nodes[0].register(EVENT).await;
    nodes[0].publish(EVENT, "one").await;
    nodes
}

fn ack_id(event: &Event) -> &str {
    event.data["ack_id"].as_str().unwrap()
}

fn is(event: &Event, text: &str, retry_count: u32) {
    assert_eq!((&event.data["payload"], &event.data["retry_count"]), (&json!(text), &json!(retry_count)));
}

/// Kills a node some time after it handed something to a client: that it did is written down after it is done.
async fn kill(node: &mut Node) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    node.kill();
}

/// The group is done with all but what is published now.
async fn done(node: &Node, mut worker: EventStream) {
    node.publish(EVENT, "two").await;
    let next = worker.next_of("message").await;
    is(&next, "two", 0);
    assert_eq!(node.ack(ack_id(&next)).await, "acked");
}

pub(crate) async fn acked_through_another_node_it_is_done(backend: Backend) {
    let [a, b] = two_nodes(backend).await;
    let mut worker = a.worker(EVENT, LONG).await;
    let first = worker.next_of("message").await;
    assert_eq!(b.ack(ack_id(&first)).await, "acked");
    assert_eq!(a.ack(ack_id(&first)).await, "stale");
    drop(worker);
    done(&b, b.worker(EVENT, LONG).await).await;
}

pub(crate) async fn acked_after_its_node_was_killed_it_is_done(backend: Backend) {
    let [mut a, b] = two_nodes(backend).await;
    let mut worker = a.worker(EVENT, LONG).await;
    let first = worker.next_of("message").await;
    kill(&mut a).await;
    assert_eq!(b.ack(ack_id(&first)).await, "acked");
    done(&b, b.worker(EVENT, LONG).await).await;
}

pub(crate) async fn nacked_through_another_node_it_comes_back(backend: Backend) {
    let [a, b] = two_nodes(backend).await;
    let mut worker = a.worker(EVENT, LONG).await;
    let first = worker.next_of("message").await;
    let nack = json!({"error": "busy", "retry_after": "0.3s"});
    assert_eq!(b.settle(ack_id(&first), nack).await, "nacked");
    assert_eq!(b.ack(ack_id(&first)).await, "stale");
    let again = worker.next_of("message").await;
    is(&again, "one", 1);
    assert_eq!(b.ack(ack_id(&again)).await, "acked");
    drop(worker);
    done(&b, b.worker(EVENT, LONG).await).await;
}

pub(crate) async fn nacked_after_its_node_was_killed_it_comes_back(backend: Backend) {
    let [mut a, b] = two_nodes(backend).await;
    let mut worker = a.worker(EVENT, LONG).await;
    let first = worker.next_of("message").await;
    kill(&mut a).await;
    let nack = json!({"error": "busy", "retry_after": "0.3s"});
    assert_eq!(b.settle(ack_id(&first), nack).await, "nacked");
    let mut worker = b.worker(EVENT, LONG).await;
    let again = worker.next_of("message").await;
    is(&again, "one", 1);
    assert_eq!(b.ack(ack_id(&again)).await, "acked");
    done(&b, worker).await;
}

pub(crate) async fn extended_through_another_node_it_stays(backend: Backend) {
    let [a, b] = two_nodes(backend).await;
    let mut worker = a.worker(EVENT, SHORT).await;
    let first = worker.next_of("message").await;
    assert_eq!(b.settle(ack_id(&first), json!({"extend": "30s"})).await, "extended");
    // Well beyond the lease that it had.
    let mut other = b.worker(EVENT, SHORT).await;
    let came = tokio::time::timeout(Duration::from_secs(4), other.next_of("message")).await;
    assert!(came.is_err(), "it came to somebody else: {came:?}");
    assert_eq!(b.ack(ack_id(&first)).await, "acked");
    drop(worker);
    done(&b, other).await;
}

/// One message at a time, each acked through the other node: none waits for a lease to run out.
pub(crate) async fn acked_through_another_node_the_next_comes_at_once(backend: Backend) {
    let [a, b] = two_nodes(backend).await;
    let mut worker = a.worker_of(EVENT, LONG, 1).await;
    let mut event = worker.next_of("message").await;
    let started = Instant::now();
    for n in 0..10 {
        let text = format!("next {n}");
        b.publish(EVENT, &text).await;
        assert_eq!(b.ack(ack_id(&event)).await, "acked");
        event = worker.next_of("message").await;
        is(&event, &text, 0);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// The lease runs out, and the message goes to somebody else.
async fn stale(b: &Node, first: &Event, worker: &mut EventStream) {
    // Whether what a killed node delivered counts as an attempt is the transport's.
    let again = worker.next_of("message").await;
    assert_eq!(again.data["payload"], "one");
    assert_eq!(b.ack(ack_id(first)).await, "stale");
    assert_eq!(b.ack(ack_id(&again)).await, "acked", "a stale ack took it away");
}

pub(crate) async fn a_stale_ack_through_another_node_changes_nothing(backend: Backend) {
    let [a, b] = two_nodes(backend).await;
    let mut worker = a.worker(EVENT, SHORT).await;
    let first = worker.next_of("message").await;
    stale(&b, &first, &mut worker).await;
}

pub(crate) async fn a_stale_ack_after_its_node_was_killed_changes_nothing(backend: Backend) {
    let [mut a, b] = two_nodes(backend).await;
    let mut worker = a.worker(EVENT, SHORT).await;
    let first = worker.next_of("message").await;
    kill(&mut a).await;
    stale(&b, &first, &mut b.worker(EVENT, LONG).await).await;
}

/// A worker on a WebSocket.
async fn socket(node: &Node) -> WebSocketStream<TcpStream> {
    let path = format!(
        "ws://{}/v1/events/{EVENT}/subscribe?delivery_mode=worker_pool&worker_group=workers\
         &start_from=beginning&max_in_flight=1&ack_wait={LONG}",
        node.http
    );
    let tcp = TcpStream::connect(node.http).await.unwrap();
    client_async(path, tcp).await.unwrap().0
}

async fn frame(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await.expect("a frame in time");
        if let Message::Text(text) = next.unwrap().unwrap() {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "message" {
                return frame;
            }
        }
    }
}

/// The next delivery of a worker over gRPC.
async fn delivered(worker: &mut Subscription) -> Delivery {
    match tokio::time::timeout(PATIENCE, worker.next()).await {
        Ok(Some(Ok(Item::Delivery(delivery)))) => delivery,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn any_door_settles_what_another_nodes_door_delivered(backend: Backend) {
    let [a, b] = two_nodes(backend).await;
    // Over a WebSocket, and acked over REST.
    let mut worker = socket(&a).await;
    assert_eq!(b.ack(frame(&mut worker).await["ack_id"].as_str().unwrap()).await, "acked");
    drop(worker);
    // Over gRPC, and acked over gRPC.
    b.publish(EVENT, "two").await;
    let options = SubscribeOptions::pool(GroupName::new("workers").unwrap(), Start::Beginning);
    let mut worker = a.remote(&[]).await.subscribe(&EventName::new(EVENT).unwrap(), options).await.unwrap();
    let second = delivered(&mut worker).await;
    assert_eq!((&second.message.payload[..], second.attempt), (&b"two"[..], 1));
    let token = second.token().unwrap().clone();
    let settled = b.remote(&[]).await.settle(vec![Settlement { token, verb: Verb::Ack }]).await;
    assert!(matches!(settled[..], [Ok(Settled::Acked)]), "{settled:?}");
    drop((worker, second));
    // Over server-sent events, and acked over a WebSocket, which does not answer.
    b.publish(EVENT, "three").await;
    let mut worker = a.worker(EVENT, LONG).await;
    let third = worker.next_of("message").await;
    is(&third, "three", 0);
    let mut other = socket(&b).await;
    other
        .send(Message::text(json!({"type": "ack", "ack_id": third.data["ack_id"]}).to_string()))
        .await
        .unwrap();
    while b.settle(ack_id(&third), json!({"extend": "60s"})).await != "stale" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((worker, other));
    done(&b, b.worker(EVENT, LONG).await).await;
}
