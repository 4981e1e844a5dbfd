//! What is published on a node whose group is through goes straight to that group, and nothing of the contract is lost by that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use busgate_brokers::{Broker, Redis};
use busgate_core::{
    Delivery, EventConfig, EventName, Item, Message, Nack, Settled, Subscription, Tasks, Timestamp,
    Transport, Verb,
};
use busgate_transports_redis::RedisTransport;
use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    PATIENCE, ask, connect, event, hold_on, message, native, next, numbered, publish_all, registered, settle,
    workers,
};

/// How many batches were handed out where they were published.
async fn direct(client: &mut MultiplexedConnection) -> u64 {
    let told: String = ask(client, &["INFO", "commandstats"]).await;
    let calls = told.split("cmdstat_xgroup|setid:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

/// Publishes until a message went straight to this member.
async fn warm(
    node: &Arc<RedisTransport>,
    event: &EventName,
    works: &mut Subscription,
    client: &mut MultiplexedConnection,
) {
    let warmed = async {
        let before = direct(client).await;
        for nth in 0.. {
            publish_all(node, event, &[format!("warm{nth}")]).await;
            next(works).await.ack().await.unwrap();
            if direct(client).await > before {
                return;
            }
            // Whoever asks for more finds the end.
            let found = timeout(Duration::from_millis(20), works.next()).await;
            assert!(found.is_err(), "{found:?}");
        }
    };
    timeout(PATIENCE, warmed).await.unwrap();
}

/// Publishes these as one batch, which goes straight to the group.
async fn publish_directly(
    node: &Arc<RedisTransport>,
    event: &EventName,
    batch: Vec<Message>,
    client: &mut MultiplexedConnection,
) {
    let before = direct(client).await;
    for sent in node.publish(event, batch).await {
        sent.unwrap();
    }
    assert_eq!(direct(client).await, before + 1, "the batch went another way");
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.message.id.as_str()).collect()
}

async fn take(works: &mut Subscription, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(next(works).await);
    }
    taken
}

/// Between two batches. Whoever publishes in bursts leaves the others alone now and then.
async fn pause(in_bursts: bool) {
    let longest = if in_bursts && fastrand::u8(..20) == 0 { 200_000 } else { 4000 };
    sleep(Duration::from_micros(fastrand::u64(..longest))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_in_three_ways_comes_once_and_in_order() {
    const EACH: usize = 400;
    let server = Redis::v8_2().start().unwrap();
    let (here, there) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&here, "orders").await;
    let mut client = native(&server.url()).await;
    let (mut works, tasks) = (hold_on(&here, &event, 64).await, Tasks::new());
    warm(&here, &event, &mut works, &mut client).await;
    let before = direct(&mut client).await;
    for (node, way) in [(here, "here"), (there, "there")] {
        let event = event.clone();
        tasks.spawn(async move {
            let mut nth = 0;
            while nth < EACH {
                let count = fastrand::usize(1..=4).min(EACH - nth);
                let batch: Vec<_> = (nth..nth + count).map(|nth| format!("{way}-{nth}")).collect();
                publish_all(&node, &event, &batch).await;
                nth += count;
                pause(way == "there").await;
            }
        });
    }
    let mut other = client.clone();
    tasks.spawn(async move {
        for nth in 0..EACH {
            let id = format!("native-{nth}");
            let _: String = ask(&mut other, &["XADD", "orders", "*", "id", &id, "payload", &id]).await;
            pause(nth % 3 == 0).await;
        }
    });
    let mut came: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..3 * EACH {
        let delivery = next(&mut works).await;
        let (way, nth) = delivery.message.id.as_str().split_once('-').unwrap();
        let due = came.entry(way.into()).or_default();
        assert_eq!((nth.parse(), delivery.attempt), (Ok(*due), 1), "{way}");
        *due += 1;
        // Meanwhile the member waits for more.
        tasks.spawn(async move { assert_eq!(delivery.ack().await.unwrap(), Settled::Acked) });
    }
    let found = timeout(Duration::from_millis(500), works.next()).await;
    assert!(found.is_err(), "one too many: {found:?}");
    let straight = direct(&mut client).await - before;
    assert!(straight > 0, "{straight} batches went straight to the member");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_before_is_not_handed_out_with_the_others() {
    let server = Redis::v7_0().start().unwrap();
    let node = connect(&server.url()).await;
    let event = registered(&node, "orders").await;
    let mut client = native(&server.url()).await;
    let mut works = Arc::clone(&node).subscribe(&event, workers(64)).await.unwrap();
    warm(&node, &event, &mut works, &mut client).await;
    publish_directly(&node, &event, ["m0", "m3"].map(message).into(), &mut client).await;
    for delivery in take(&mut works, 2).await {
        delivery.ack().await.unwrap();
    }
    let mut batch: Vec<_> = numbered(16).iter().map(|id| message(id)).collect();
    // One is in the batch twice.
    batch.insert(7, message("m5"));
    publish_directly(&node, &event, batch, &mut client).await;
    let held = take(&mut works, 14).await;
    let mut fresh = numbered(16);
    fresh.retain(|id| id != "m0" && id != "m3");
    assert_eq!(ids(&held), fresh);
    // Those that are left are the last, so that an ack of a wrong place would be an ack of another message.
    let acked: Vec<_> = held[..11].iter().collect();
    assert_eq!(settle(&node, &acked, Verb::Ack).await, [Settled::Acked; 11]);
    for left in &held[11..] {
        let again = next(&mut works).await;
        assert_eq!((&again.message.id, again.attempt), (&left.message.id, 2));
        assert_eq!(again.ack().await.unwrap(), Settled::Acked);
    }
    let found = timeout(Duration::from_millis(1500), works.next()).await;
    assert!(found.is_err(), "this was acked: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nacked_comes_again_as_it_was() {
    let server = Redis::v7_0().start().unwrap();
    let node = connect(&server.url()).await;
    let event = registered(&node, "orders").await;
    let mut client = native(&server.url()).await;
    let mut works = hold_on(&node, &event, 64).await;
    warm(&node, &event, &mut works, &mut client).await;
    let mut full = message("full");
    full.source = "shop/1".into();
    full.payload = vec![0, 0xff, b'\r', b'\n'].into();
    full.metadata = [("colour", "red"), ("empty", ""), ("ts", "5")].map(|(k, v)| (k.into(), v.into())).into();
    full.content_type = Some("text/plain; charset=utf-8".into());
    full.timestamp = Timestamp::from_nanos(1_795_000_000_123_456_789);
    let mut empty = message("empty");
    empty.payload = Vec::new().into();
    publish_directly(&node, &event, vec![full, empty], &mut client).await;
    let first = take(&mut works, 2).await;
    assert_eq!(ids(&first), ["full", "empty"]);
    let now = Verb::Nack(Nack { delay: Some(Duration::ZERO), error: None });
    assert_eq!(settle(&node, &[&first[0], &first[1]], now).await, [Settled::Nacked; 2]);
    for (again, first) in take(&mut works, 2).await.iter().zip(&first) {
        assert_eq!((&again.message, again.attempt), (&first.message, 2));
        assert_eq!(again.cursor, first.cursor);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_was_handed_as_it_closed_comes_to_another() {
    let server = Redis::v8_2().start().unwrap();
    let (here, there) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&here, "orders").await;
    let mut client = native(&server.url()).await;
    let mut works = hold_on(&here, &event, 64).await;
    warm(&here, &event, &mut works, &mut client).await;
    let batch = numbered(40).iter().map(|id| message(id)).collect();
    publish_directly(&here, &event, batch, &mut client).await;
    let held = take(&mut works, 20).await;
    let acked: Vec<_> = held.iter().step_by(2).collect();
    assert_eq!(settle(&here, &acked, Verb::Ack).await, [Settled::Acked; 10]);
    let more: Vec<_> = (40..60).map(|nth| message(&format!("m{nth}"))).collect();
    for sent in here.publish(&event, more).await {
        sent.unwrap();
    }
    here.close().await.unwrap();
    let mut left: BTreeSet<_> = numbered(60).into_iter().collect();
    left.retain(|id| acked.iter().all(|acked| acked.message.id.as_str() != id));
    let mut works = hold_on(&there, &event, 64).await;
    for delivery in take(&mut works, left.len()).await {
        assert!(left.remove(delivery.message.id.as_str()), "{} was done", delivery.message.id);
        assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
    }
    let found = timeout(Duration::from_millis(500), works.next()).await;
    assert!(found.is_err(), "one too many: {found:?}");
}

/// Which messages of each key are in some member's hands, and how many came.
#[derive(Debug, Default)]
struct Hands {
    held: BTreeMap<String, String>,
    last: BTreeMap<String, usize>,
    came: usize,
    wrong: Vec<String>,
}

async fn member(mut works: Subscription, hands: Arc<Mutex<Hands>>) {
    let mut acks = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = acks.next(), if !acks.is_empty() => {}
            delivery = next(&mut works) => {
                let (id, key) = (delivery.message.id.to_string(), delivery.message.key.clone());
                let mut now = hands.lock();
                now.came += 1;
                if let Some(key) = key.clone() {
                    let nth: usize = id.parse().unwrap();
                    if let Some(earlier) = now.last.insert(key.clone(), nth).filter(|earlier| *earlier > nth) {
                        now.wrong.push(format!("{id} came after {earlier}"));
                    }
                    if let Some(other) = now.held.insert(key, id.clone()) {
                        now.wrong.push(format!("{id} came while {other} was held"));
                    }
                }
                let hands = Arc::clone(&hands);
                acks.push(async move {
                    sleep(Duration::from_micros(fastrand::u64(..2000))).await;
                    key.map(|key| hands.lock().held.remove(&key));
                    assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
                });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_keys_holds_over_two_members() {
    const COUNT: usize = 300;
    let server = Redis::v7_0().start().unwrap();
    let node = connect(&server.url()).await;
    let event = registered(&node, "orders").await;
    let mut client = native(&server.url()).await;
    let mut works = hold_on(&node, &event, 64).await;
    warm(&node, &event, &mut works, &mut client).await;
    let (hands, tasks, before) =
        (Arc::new(Mutex::new(Hands::default())), Tasks::new(), direct(&mut client).await);
    tasks.spawn(member(works, Arc::clone(&hands)));
    tasks.spawn(member(hold_on(&node, &event, 64).await, Arc::clone(&hands)));
    for from in (0..COUNT).step_by(5) {
        // Now and then a batch has no keys.
        let keyed = from % 3 > 0;
        let batch = (from..from + 5).map(|nth| {
            let mut message = message(&nth.to_string());
            message.key = (keyed && nth % 5 > 0).then(|| format!("k{}", nth % 2));
            message
        });
        node.publish(&event, batch.collect()).await.into_iter().for_each(|sent| drop(sent.unwrap()));
        sleep(Duration::from_millis(fastrand::u64(..8))).await;
    }
    let all = timeout(PATIENCE, async {
        while hands.lock().came < COUNT {
            sleep(Duration::from_millis(10)).await;
        }
    });
    let finished = all.await;
    assert_eq!(hands.lock().wrong, Vec::<String>::new());
    assert!(finished.is_ok(), "{} of {COUNT} came", hands.lock().came);
    assert!(direct(&mut client).await > before, "no batch went straight to a member");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_comes_while_messages_are_published_all_the_time() {
    let server = Redis::v8_2().start().unwrap();
    let node = connect(&server.url()).await;
    let event = registered(&node, "orders").await;
    let mut client = native(&server.url()).await;
    let mut works = hold_on(&node, &event, 1000).await;
    warm(&node, &event, &mut works, &mut client).await;
    publish_directly(&node, &event, vec![message("late")], &mut client).await;
    let late = next(&mut works).await;
    let tasks = Tasks::new();
    for way in 0..2 {
        let (node, event) = (Arc::clone(&node), event.clone());
        tasks.spawn(async move {
            for round in 0.. {
                let batch: Vec<_> = (0..4).map(|nth| format!("{way}-{round}-{nth}")).collect();
                publish_all(&node, &event, &batch).await;
            }
        });
    }
    let delay = Duration::from_millis(300);
    let before = direct(&mut client).await;
    let nacked = Instant::now();
    let verb = Verb::Nack(Nack { delay: Some(delay), error: None });
    assert_eq!(settle(&node, &[&late], verb).await, [Settled::Nacked]);
    let mut acks = FuturesUnordered::new();
    let back = async {
        loop {
            tokio::select! {
                Some(()) = acks.next(), if !acks.is_empty() => {}
                delivery = next(&mut works) => {
                    if delivery.message.id.as_str() == "late" {
                        return delivery.attempt;
                    }
                    acks.push(async move { assert_eq!(delivery.ack().await.unwrap(), Settled::Acked) });
                }
            }
        }
    };
    assert_eq!(timeout(Duration::from_secs(5), back).await.unwrap(), 2);
    assert!(nacked.elapsed() >= delay, "after {:?}", nacked.elapsed());
    let straight = direct(&mut client).await - before;
    assert!(straight > 0, "{straight} batches went straight to the member");
}

/// A node, and an event that holds ten messages.
async fn short(server: &Broker) -> (Arc<RedisTransport>, EventName) {
    let (node, event) = (connect(&server.url()).await, event("orders"));
    let config = EventConfig { retention_messages: Some(10), ..EventConfig::default() };
    node.register(&event, &config).await.unwrap();
    (node, event)
}

/// How many were missed, as the next thing that this member is told.
async fn gap(works: &mut Subscription) -> Option<u64> {
    match timeout(PATIENCE, works.next()).await.unwrap() {
        Some(Ok(Item::Gap(gap))) => gap.missed,
        other => panic!("wanted a gap, found {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_holds_one_is_told_what_it_missed_meanwhile() {
    let server = Redis::v7_0().start().unwrap();
    let (node, event) = short(&server).await;
    let mut client = native(&server.url()).await;
    let mut works = hold_on(&node, &event, 1).await;
    warm(&node, &event, &mut works, &mut client).await;
    publish_directly(&node, &event, vec![message("held")], &mut client).await;
    let held = next(&mut works).await;
    for ids in numbered(50).chunks(5) {
        publish_all(&node, &event, ids).await;
    }
    assert_eq!(held.ack().await.unwrap(), Settled::Acked);
    assert_eq!(gap(&mut works).await, Some(40));
    for id in &numbered(50)[40..] {
        let delivery = next(&mut works).await;
        assert_eq!(delivery.message.id.as_str(), id);
        assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_can_not_hold_is_not_handed_out() {
    let server = Redis::v8_2().start().unwrap();
    let (node, event) = short(&server).await;
    let mut client = native(&server.url()).await;
    let mut works = hold_on(&node, &event, 64).await;
    warm(&node, &event, &mut works, &mut client).await;
    publish_all(&node, &event, &numbered(25)).await;
    assert_eq!(gap(&mut works).await, Some(15));
    assert_eq!(ids(&take(&mut works, 10).await), numbered(25)[15..]);
}
