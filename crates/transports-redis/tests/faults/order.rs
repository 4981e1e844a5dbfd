//! Order, with several calls on their way at once, through connections and scripts that are lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use busgate_brokers::Redis;
use busgate_core::{EventName, Message, ReadRequest, Start, Subscription, Tasks, Transport};
use busgate_transports_redis::RedisTransport;
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, connect, message, next, registered, workers};

/// Kills every connection and has the server forget its scripts, in turn, for as long as the tasks are there.
fn disturb(url: &str) -> Tasks {
    let (client, tasks) = (redis::Client::open(url).unwrap(), Tasks::new());
    tasks.spawn(async move {
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        loop {
            sleep(Duration::from_millis(20)).await;
            let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
            sleep(Duration::from_millis(40)).await;
            let mut kill = redis::cmd("CLIENT");
            let _: i64 =
                kill.arg("KILL").arg("TYPE").arg("normal").query_async(&mut connection).await.unwrap();
        }
    });
    tasks
}

fn number(message: &Message) -> usize {
    message.id.as_str().parse().unwrap()
}

/// Publishes once; answers whether it was accepted.
async fn send(transport: &RedisTransport, event: &EventName, nth: usize, key: Option<String>) -> bool {
    let mut message = message(&nth.to_string());
    message.key = key;
    transport.publish(event, vec![message]).await.pop().unwrap().is_ok()
}

/// The numbers that the event holds, as one publisher sent them.
async fn numbers(transport: &Arc<RedisTransport>, event: &EventName) -> Vec<usize> {
    let (mut numbers, mut start) = (Vec::new(), Start::Beginning);
    loop {
        let request = ReadRequest { start, limit: 1000, max_bytes: 1 << 20 };
        let page = transport.read(event, request).await.unwrap();
        if page.messages.is_empty() {
            return numbers;
        }
        numbers.extend(page.messages.iter().map(|(_, message)| number(message)));
        start = Start::After(page.next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_publishers_order_holds_while_connections_and_scripts_are_lost() {
    let server = Redis::v8_2().durable().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    let disturbing = disturb(&server.url());
    let mut accepted = 0;
    for round in 0..10 {
        // Each is polled, and so under way, before the next: none waits for the one before it.
        let sent = (round * 1000..(round + 1) * 1000).map(|nth| send(&transport, &event, nth, None));
        accepted += join_all(sent).await.into_iter().filter(|accepted| *accepted).count();
    }
    disturbing.close().await;
    let held = numbers(&connect(&server.url()).await, &event).await;
    assert!(accepted > 0 && held.len() >= accepted, "{accepted} accepted, {} held", held.len());
    assert!(held.is_sorted(), "they are held in another order than they were sent in");
}

/// What the members of a group saw, and what they saw that must not be.
#[derive(Debug, Default)]
struct Watched {
    last: BTreeMap<String, usize>,
    came: BTreeSet<usize>,
    wrong: Vec<String>,
}

/// A member that acks many at once.
async fn member(mut subscription: Subscription, watched: Arc<Mutex<Watched>>) {
    let mut acks = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = acks.next(), if !acks.is_empty() => {}
            delivery = next(&mut subscription) => {
                let nth = number(&delivery.message);
                let mut watched = watched.lock();
                if let Some(key) = delivery.message.key.clone()
                    && let Some(earlier) = watched.last.insert(key, nth).filter(|earlier| *earlier > nth)
                {
                    watched.wrong.push(format!("{nth} came after {earlier}"));
                }
                watched.came.insert(nth);
                // One that fails has it come again, if it did not take effect.
                acks.push(async move { drop(delivery.ack().await) });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_beside_each_other_keep_the_order_of_keys() {
    let server = Redis::v8_2().durable().start().unwrap();
    let transport = connect(&server.url()).await;
    let event = registered(&transport, "orders").await;
    let (watched, tasks) = (Arc::new(Mutex::new(Watched::default())), Tasks::new());
    for _ in 0..3 {
        let subscription = Arc::clone(&transport).subscribe(&event, workers(100)).await.unwrap();
        tasks.spawn(member(subscription, Arc::clone(&watched)));
    }
    let disturbing = disturb(&server.url());
    let mut accepted = Vec::new();
    for from in (0..6000).step_by(500) {
        let key = |nth: usize| nth.is_multiple_of(4).then(|| format!("k{}", nth % 64));
        let sent =
            (from..from + 500).map(async |nth| send(&transport, &event, nth, key(nth)).await.then_some(nth));
        accepted.extend(join_all(sent).await.into_iter().flatten());
    }
    disturbing.close().await;
    let all = async {
        while !accepted.iter().all(|nth| watched.lock().came.contains(nth)) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let finished = timeout(PATIENCE, all).await;
    assert_eq!(watched.lock().wrong, Vec::<String>::new());
    finished.unwrap();
}
