//! Several nodes on one server, one of which goes away.

use std::{sync::Arc, time::Duration};

use busgate_brokers::Redis;
use busgate_core::{
    ConsumerName, Delivery, Item, Nack, Settled, Settlement, Start, SubscribeOptions, Transport, Verb,
};
use busgate_transports_redis::RedisTransport;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use crate::support::{self, PATIENCE, Worker, connect, message, next, publish, registered, work_on};

async fn settle(node: &Arc<RedisTransport>, delivery: &Delivery, verb: Verb) -> Settled {
    support::settle(node, &[delivery], verb).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_taken_over_from_another_node() {
    let server = Redis::v7_0().start().unwrap();
    let (here, there) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&here, "orders").await;
    let options = SubscribeOptions::consumer(ConsumerName::new("audit").unwrap(), Start::Beginning);
    let mut earlier = Arc::clone(&here).subscribe(&event, options.clone()).await.unwrap();
    publish(&here, &event, "a").await;
    publish(&here, &event, "b").await;
    let held = next(&mut earlier).await;
    // By then the server knows that it was yielded.
    sleep(Duration::from_millis(400)).await;
    let mut later = Arc::clone(&there).subscribe(&event, options).await.unwrap();
    // What was held comes again, what was only read ahead comes for the first time.
    let (again, fresh) = (next(&mut later).await, next(&mut later).await);
    assert_eq!((again.message.id.as_str(), again.attempt), ("a", 2));
    assert_eq!((fresh.message.id.as_str(), fresh.attempt), ("b", 1));
    assert_eq!(settle(&here, &held, Verb::Ack).await, Settled::Stale);
    let ended = timeout(PATIENCE, async {
        loop {
            match earlier.next().await {
                Some(Ok(Item::Delivery(delivery))) => assert_eq!(delivery.message.id.as_str(), "b"),
                Some(Err(error)) => return error,
                other => panic!("wanted the end, found {other:?}"),
            }
        }
    });
    assert_eq!(ended.await.unwrap().kind(), busgate_core::ErrorKind::Exists);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_settles_while_the_first_lives_and_after_it_is_gone() {
    let server = Redis::v7_0().start().unwrap();
    let (here, there) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&here, "orders").await;
    let mut works = work_on(&here, &event).await;
    for id in ["a", "b", "c", "d"] {
        publish(&here, &event, id).await;
    }
    let [a, b, c, d] = [(); 4].map(|()| None::<Delivery>);
    let mut held = [a, b, c, d];
    for slot in &mut held {
        *slot = Some(next(&mut works).await);
    }
    let [a, b, c, d] = held.map(Option::unwrap);
    assert_eq!(settle(&there, &a, Verb::Ack).await, Settled::Acked);
    assert_eq!(settle(&there, &b, Verb::Extend(Duration::from_secs(60))).await, Settled::Extended);
    drop(works);
    here.close().await.unwrap();
    assert_eq!(settle(&there, &b, Verb::Ack).await, Settled::Acked);
    let now = Verb::Nack(Nack { delay: Some(Duration::ZERO), error: None });
    assert_eq!(settle(&there, &c, now).await, Settled::Nacked);
    assert_eq!(settle(&there, &d, Verb::Ack).await, Settled::Acked);
    let mut works = work_on(&there, &event).await;
    let again = next(&mut works).await;
    assert_eq!((again.message.id.as_str(), again.attempt), ("c", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_has_just_settled_is_stale_among_others() {
    let server = Redis::v8_2().start().unwrap();
    let (here, there) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&here, "orders").await;
    let mut works = work_on(&here, &event).await;
    for round in 0..200 {
        let sent = ["a", "b"].map(|id| message(&format!("{id}{round}"))).into();
        here.publish(&event, sent).await.into_iter().for_each(|receipt| assert!(!receipt.unwrap().duplicate));
        let held = [next(&mut works).await, next(&mut works).await];
        let later = Verb::Nack(Nack { delay: Some(PATIENCE * 100), error: None });
        let (verb, done) = [(Verb::Ack, Settled::Acked), (later, Settled::Nacked)][round % 2].clone();
        assert_eq!(settle(&there, &held[0], verb).await, done);
        let acks =
            held.iter().map(|held| Settlement { token: held.token().unwrap().clone(), verb: Verb::Ack });
        let answers = here.settle(acks.collect()).await.into_iter().map(Result::unwrap);
        assert_eq!(answers.collect::<Vec<_>>(), [Settled::Stale, Settled::Acked], "{round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_a_failover_forgot_settles_nothing() {
    let server = Redis::v7_0().start().unwrap();
    let (here, there) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&here, "orders").await;
    let mut works = work_on(&here, &event).await;
    publish(&here, &event, "a").await;
    let forgotten = next(&mut works).await;
    drop(works);
    let mut works = work_on(&there, &event).await;
    publish(&there, &event, "b").await;
    next(&mut works).await.ack().await.unwrap();
    // By then the server knows that the first one was yielded.
    sleep(Duration::from_millis(400)).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut client = client.get_multiplexed_async_connection().await.unwrap();
    // As a replica that has heard nothing of the delivery: it is neither pending nor known, and connections are made anew.
    let entries: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(&["orders", "-", "+"]).query_async(&mut client).await.unwrap();
    let id = entries[0].0.as_str();
    for words in [
        &["XACK", "orders", "default", id][..],
        &["HDEL", "busgate:entries:{orders}:default", id],
        &["ZREM", "busgate:leases:{orders}:default", id],
        &["XGROUP", "SETID", "orders", "default", "0"],
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
    ] {
        redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut client).await.unwrap();
    }
    let delivery = next(&mut works).await;
    assert_eq!((delivery.message.id.as_str(), delivery.attempt), ("a", 1));
    assert_eq!(settle(&there, &forgotten, Verb::Ack).await, Settled::Stale);
    assert_eq!(settle(&there, &delivery, Verb::Ack).await, Settled::Acked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_forgot_is_not_acked_right_after_it() {
    let server = Redis::v8_2().start().unwrap();
    let node = connect(&server.url()).await;
    let event = registered(&node, "orders").await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut client = client.get_multiplexed_async_connection().await.unwrap();
    let mut works = work_on(&node, &event).await;
    node.publish(&event, ["a", "b"].map(message).into())
        .await
        .into_iter()
        .for_each(|sent| drop(sent.unwrap()));
    let held = [next(&mut works).await, next(&mut works).await];
    // As a replica that has heard nothing of the turn that brought them.
    for words in [
        &["DEL", "busgate:entries:{orders}:default", "busgate:runs:{orders}:default"][..],
        &["XGROUP", "SETID", "orders", "default", "0"],
        &["CLIENT", "KILL", "TYPE", "normal"],
    ] {
        redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut client).await.unwrap();
    }
    let acks = held.iter().map(|held| Settlement { token: held.token().unwrap().clone(), verb: Verb::Ack });
    let acks: Vec<_> = acks.collect();
    let answers = timeout(PATIENCE, async {
        loop {
            let answers = node.settle(acks.clone()).await.into_iter().collect::<Result<Vec<_>, _>>();
            match answers {
                Ok(answers) => return answers,
                Err(error) => assert!(error.kind().is_transient(), "{error:?}"),
            }
        }
    });
    assert_eq!(answers.await.unwrap(), [Settled::Stale; 2]);
    for id in ["a", "b"] {
        let again = next(&mut works).await;
        assert_eq!(again.message.id.as_str(), id);
        assert_eq!(again.ack().await.unwrap(), Settled::Acked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_come_and_go_lose_and_repeat_nothing() {
    let server = Redis::v7_0().start().unwrap();
    let publisher = connect(&server.url()).await;
    let event = registered(&publisher, "orders").await;
    let sent: Vec<_> = (0..300).map(|nth| format!("m{nth}")).collect();
    let mut workers = Vec::new();
    for (nth, id) in sent.iter().enumerate() {
        if nth % 60 == 0 {
            let node = connect(&server.url()).await;
            let worker = Worker::start(work_on(&node, &event).await);
            workers.push((node, worker));
        }
        if nth % 60 == 50 && workers.len() > 1 {
            // In the midst of its work, as a process that is killed: its connections end, and nothing is told.
            let (node, _) = &workers[workers.len() - 2];
            node.close().await.unwrap();
        }
        publish(&publisher, &event, id).await;
    }
    let acked = || {
        let mut all = std::collections::BTreeSet::new();
        for (_, worker) in &workers {
            let seen = worker.seen.lock();
            all.extend(seen.acked.iter().chain(&seen.open).cloned());
        }
        all
    };
    let done = async {
        while acked().len() < sent.len() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, done).await.is_ok(), "{} of {} were done", acked().len(), sent.len());
    for (_, worker) in &workers {
        assert!(worker.seen.lock().back.is_empty());
    }
}
