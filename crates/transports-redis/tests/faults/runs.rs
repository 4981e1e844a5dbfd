//! Messages that were handed out together for the first time, and what becomes of each of them.

use std::{collections::BTreeSet, time::Duration};

use busgate_brokers::Redis;
use busgate_core::{Delivery, Nack, Settled, Transport, Verb};
use redis::FromRedisValue;
use tokio::time::{sleep, timeout};

use crate::support::{
    PATIENCE, ask, connect, hold_on, native, next, numbered, publish_all, registered, settle,
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_what_is_settled() {
    let server = Redis::v7_0().start().unwrap();
    let (here, there) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&here, "orders").await;
    let ids = numbered(350);
    publish_all(&here, &event, &ids).await;
    let mut works = hold_on(&here, &event, 400).await;
    let mut held = Vec::new();
    for _ in 0..ids.len() {
        held.push(next(&mut works).await);
    }
    fastrand::shuffle(&mut held);
    let ways: Vec<Vec<&Delivery>> =
        (0..5).map(|way| held.iter().skip(way).step_by(5).collect::<Vec<_>>()).collect();
    let count = ways[0].len();
    for one in &ways[0] {
        assert_eq!(settle(&here, &[*one], Verb::Ack).await, [Settled::Acked]);
    }
    assert_eq!(settle(&here, &ways[1], Verb::Ack).await, vec![Settled::Acked; count]);
    assert_eq!(settle(&there, &ways[2], Verb::Ack).await, vec![Settled::Acked; count]);
    assert_eq!(
        settle(&here, &ways[3], Verb::Extend(Duration::from_secs(60))).await,
        vec![Settled::Extended; count]
    );
    assert_eq!(settle(&here, &ways[3], Verb::Ack).await, vec![Settled::Acked; count]);
    let now = Verb::Nack(Nack { delay: Some(Duration::ZERO), error: None });
    assert_eq!(settle(&there, &ways[4], now).await, vec![Settled::Nacked; count]);
    let all: Vec<_> = held.iter().collect();
    assert_eq!(settle(&here, &all, Verb::Ack).await, vec![Settled::Stale; ids.len()]);
    for _ in 0..count {
        let again = next(&mut works).await;
        assert_eq!(again.attempt, 2, "{}", again.message.id);
        // By then its lease is told.
        sleep(Duration::from_millis(2)).await;
        assert_eq!(again.ack().await.unwrap(), Settled::Acked);
    }
    let mut client = native(&server.url()).await;
    for (kind, count) in [("leases", "ZCARD"), ("delayed", "ZCARD"), ("ready", "ZCARD"), ("runs", "ZCARD")] {
        let key = format!("busgate:{kind}:{{orders}}:default");
        assert_eq!(ask::<usize>(&mut client, &[count, &key]).await, 0, "{kind}");
    }
    let known: Vec<String> = ask(&mut client, &["HKEYS", "busgate:entries:{orders}:default"]).await;
    let figures: BTreeSet<_> = ["cut", "reads", "epoch", "backoff"].map(String::from).into();
    assert!(known.iter().all(|name| figures.contains(name)), "{known:?}");
    let pending: redis::Value = ask(&mut client, &["XPENDING", "orders", "default"]).await;
    assert!(
        matches!(&pending, redis::Value::Array(parts) if parts[0] == redis::Value::Int(0)),
        "{pending:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_node_had_not_acked_comes_to_another() {
    let server = Redis::v8_2().start().unwrap();
    let (here, there) = (connect(&server.url()).await, connect(&server.url()).await);
    let event = registered(&here, "orders").await;
    let ids = numbered(200);
    publish_all(&here, &event, &ids).await;
    let mut works = hold_on(&here, &event, 150).await;
    let mut left = ids.clone();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(next(&mut works).await);
    }
    let acked: Vec<_> = held.iter().filter(|_| fastrand::bool()).collect();
    assert_eq!(settle(&here, &acked, Verb::Ack).await, vec![Settled::Acked; acked.len()]);
    left.retain(|id| acked.iter().all(|acked| acked.message.id.as_str() != id));
    // As a process that is killed: its connection ends, and nothing is told.
    here.close().await.unwrap();
    let mut works = hold_on(&there, &event, 200).await;
    let mut came = BTreeSet::new();
    for _ in 0..left.len() {
        let delivery = next(&mut works).await;
        assert!(came.insert(delivery.message.id.to_string()), "{} came twice", delivery.message.id);
        delivery.ack().await.unwrap();
    }
    assert_eq!(came, left.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_server_has_lost_is_forgotten() {
    let server = Redis::v7_0().start().unwrap();
    let node = connect(&server.url()).await;
    let event = registered(&node, "orders").await;
    let mut works = hold_on(&node, &event, 10).await;
    publish_all(&node, &event, &numbered(3)).await;
    let held = next(&mut works).await;
    let mut client = native(&server.url()).await;
    let _: usize = ask(&mut client, &["DEL", "busgate:entries:{orders}:default"]).await;
    assert_eq!(settle(&node, &[&held], Verb::Ack).await, [Settled::Stale]);
    let forgotten = async {
        while ask::<usize>(&mut client, &["ZCARD", "busgate:runs:{orders}:default"]).await > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, forgotten).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn native_tools_see_how_far_a_group_is_and_what_it_holds() {
    let server = Redis::v7_0().start().unwrap();
    let node = connect(&server.url()).await;
    let event = registered(&node, "orders").await;
    let ids = numbered(20);
    let mut works = hold_on(&node, &event, 10).await;
    publish_all(&node, &event, &ids).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(next(&mut works).await);
    }
    let mut client = native(&server.url()).await;
    let entries: Vec<(String, Vec<String>)> = ask(&mut client, &["XRANGE", "orders", "-", "+"]).await;
    let shown = async {
        loop {
            let mut groups: Vec<std::collections::HashMap<String, redis::Value>> =
                ask(&mut client, &["XINFO", "GROUPS", "orders"]).await;
            let group = groups.remove(0);
            let figure = |name: &str| group.get(name).cloned().unwrap();
            let last = String::from_redis_value(figure("last-delivered-id")).unwrap();
            assert_eq!((last, figure("lag")), (entries[9].0.clone(), redis::Value::Int(10)));
            // Once their leases are told.
            if figure("pending") == redis::Value::Int(10) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, shown).await.unwrap();
    assert_eq!(settle(&node, &held.iter().collect::<Vec<_>>(), Verb::Ack).await, vec![Settled::Acked; 10]);
}
