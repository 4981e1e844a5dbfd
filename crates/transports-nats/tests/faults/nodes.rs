//! Two gateway nodes on one server.

use std::{sync::Arc, time::Duration};

use busgate_brokers::Nats;
use busgate_core::{ConsumerName, ErrorKind, Nack, Settled, Start, SubscribeOptions, Transport, Verb};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::support::{
    PATIENCE, Worker, connect, ids, next, publish, registered, settle, until_waiting, work_on, workers,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_handed_out_is_settled_by_another() {
    let server = Nats::v2_15().start().unwrap();
    let (a, b) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&a, "orders").await;
    let mut member = Arc::clone(&a).subscribe(&event, workers(Duration::from_secs(3))).await.unwrap();
    for id in ["acked", "nacked", "extended", "left"] {
        publish(&a, &event, id).await;
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        let delivery = next(&mut member).await;
        held.push((delivery.message.id.to_string(), delivery.token().unwrap().clone()));
    }
    // Nothing is closed and nothing is said.
    drop((member, a));
    let settle = async |at: usize, verb: Verb| {
        let token = held[at].1.clone();
        let settlement = busgate_core::Settlement { token, verb };
        b.settle(vec![settlement]).await.pop().unwrap().unwrap()
    };
    assert_eq!(settle(0, Verb::Ack).await, Settled::Acked);
    let nack = Nack { delay: Some(Duration::from_millis(100)), error: None };
    assert_eq!(settle(1, Verb::Nack(nack)).await, Settled::Nacked);
    assert_eq!(settle(2, Verb::Extend(Duration::from_secs(20))).await, Settled::Extended);
    for at in [0, 1] {
        assert_eq!(settle(at, Verb::Ack).await, Settled::Stale, "{} once more", held[at].0);
    }
    let mut member = work_on(&b, &event).await;
    // The one after its delay, the other when the dead node's lease runs out at the server.
    let mut back = vec![next(&mut member).await, next(&mut member).await];
    back.sort_by_key(|delivery| std::cmp::Reverse(delivery.attempt));
    let came = |at: usize| (back[at].message.id.as_str().to_owned(), back[at].attempt);
    assert_eq!((came(0), came(1)), (("nacked".to_owned(), 2), ("left".to_owned(), 1)));
    assert_eq!(settle(3, Verb::Ack).await, Settled::Stale, "what another has by now");
    for delivery in back {
        assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
    }
    assert_eq!(settle(2, Verb::Ack).await, Settled::Acked, "what was extended");
    publish(&b, &event, "marker").await;
    assert_eq!(next(&mut member).await.message.id.as_str(), "marker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_under_load_costs_nothing() {
    let server = Nats::v2_15().start().unwrap();
    let url = format!("{}?ack_wait=2s", server.url());
    let (a, b) = (connect(&url).await, connect(&url).await);
    let event = registered(&a, "orders").await;
    let there = Worker::start(&b, work_on(&b, &event).await);
    let mut dies = work_on(&a, &event).await;
    let sent = ids("m", 300);
    let mut acked_by_a = Vec::new();
    for (at, id) in sent.iter().enumerate() {
        publish(&b, &event, id).await;
        if at % 10 == 0
            && let Ok(Some(Ok(busgate_core::Item::Delivery(delivery)))) =
                timeout(Duration::from_millis(50), dies.next()).await
        {
            let id = delivery.message.id.to_string();
            assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
            acked_by_a.push(id);
        }
        if at == 200 {
            break;
        }
    }
    drop((dies, a));
    for id in sent.iter().skip(201) {
        publish(&b, &event, id).await;
    }
    let rest: Vec<_> = sent.iter().filter(|id| !acked_by_a.contains(id)).cloned().collect();
    there.done(&rest).await;
    let seen = there.seen.lock();
    assert!(seen.back.is_empty(), "{:?}", seen.back);
    let twice: Vec<_> = acked_by_a.iter().filter(|id| seen.came.contains_key(*id)).collect();
    assert!(twice.is_empty(), "acked on the node that died, and come back: {twice:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_taken_over_across_nodes() {
    let server = Nats::v2_15().start().unwrap();
    let (a, b) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&a, "orders").await;
    let options = || SubscribeOptions::consumer(ConsumerName::new("reader").unwrap(), Start::Latest);
    let mut earlier = Arc::clone(&a).subscribe(&event, options()).await.unwrap();
    publish(&a, &event, "first").await;
    assert_eq!(next(&mut earlier).await.ack().await.unwrap(), Settled::Acked);
    let mut later = Arc::clone(&b).subscribe(&event, options()).await.unwrap();
    let ended = timeout(PATIENCE, earlier.next()).await.unwrap();
    assert!(matches!(ended, Some(Err(error)) if error.kind() == ErrorKind::Exists));
    publish(&a, &event, "second").await;
    assert_eq!(next(&mut later).await.message.id.as_str(), "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unregistering_ends_subscriptions_on_every_node() {
    let server = Nats::v2_15().start().unwrap();
    let (a, b) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&a, "orders").await;
    let mut member = work_on(&b, &event).await;
    let mut live =
        Arc::clone(&b).subscribe(&event, SubscribeOptions::broadcast(Start::Latest)).await.unwrap();
    a.unregister(&event).await.unwrap();
    for subscription in [&mut member, &mut live] {
        assert!(timeout(PATIENCE, subscription.next()).await.unwrap().is_none());
    }
    registered(&a, "orders").await;
    let mut member = work_on(&b, &event).await;
    publish(&b, &event, "new").await;
    let delivery = next(&mut member).await;
    assert_eq!(settle(&a, &delivery, Verb::Ack).await, Settled::Acked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_after_the_end_counts_while_the_message_is_only_read_ahead() {
    let server = Nats::v2_15().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    let lease = Duration::from_millis(200);
    let mut member = Arc::clone(&transport).subscribe(&event, workers(lease)).await.unwrap();
    for (id, verb, wanted) in [
        ("acked", Verb::Ack, Settled::Acked),
        ("nacked", Verb::Nack(Nack { delay: Some(lease), error: None }), Settled::Nacked),
    ] {
        publish(&transport, &event, id).await;
        let delivery = next(&mut member).await;
        // It runs out, and comes back to this node, where nobody asks for it.
        until_waiting(&transport, &event, 1).await;
        assert_eq!(settle(&transport, &delivery, verb).await, wanted);
        assert_eq!(settle(&transport, &delivery, Verb::Ack).await, Settled::Stale);
    }
    let again = next(&mut member).await;
    assert_eq!((again.message.id.as_str(), again.attempt), ("nacked", 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_after_a_release_counts_wherever_the_message_is_by_then() {
    let server = Nats::v2_15().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    for round in 0..24 {
        let id = format!("m{round}");
        let mut member = work_on(&transport, &event).await;
        publish(&transport, &event, &id).await;
        let delivery = next(&mut member).await;
        assert_eq!(settle(&transport, &delivery, Verb::Release { counted: true }).await, Settled::Released);
        // By then it is with the server, or let in again, or read ahead; nobody looks at it, and it is handed back. Real time
        // is the point of both sleeps: each round drops and acks at another moment of a way that nobody sees.
        tokio::time::sleep(Duration::from_millis(round % 8)).await;
        drop(member);
        tokio::time::sleep(Duration::from_millis(round / 8 * 4)).await;
        assert_eq!(settle(&transport, &delivery, Verb::Ack).await, Settled::Acked, "{id}");
        assert_eq!(settle(&transport, &delivery, Verb::Ack).await, Settled::Stale, "{id}");
    }
    let mut member = work_on(&transport, &event).await;
    publish(&transport, &event, "last").await;
    assert_eq!(next(&mut member).await.message.id.as_str(), "last", "what was acked is done");
}
