//! Beside clients of Redis that know nothing of busgate.

use std::{sync::Arc, time::Duration};

use busgate_brokers::Redis;
use busgate_core::{ErrorKind, Item, ReadRequest, Settled, Start, SubscribeOptions, Transport};
use futures_util::StreamExt;
use redis::{Value, aio::MultiplexedConnection};
use tokio::time::{Instant, timeout};

use crate::support::{
    PATIENCE, connect, event, message, native, next, numbered, publish, publish_all, registered, work_on,
};

async fn ask(client: &mut MultiplexedConnection, command: &str) -> Value {
    let mut words = command.split(' ');
    let mut ask = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        ask.arg(word);
    });
    ask.query_async(client).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_adds_is_delivered() {
    let server = Redis::v7_0().start().unwrap();
    let (transport, mut client) = (connect(&server.url()).await, native(&server.url()).await);
    let event = registered(&transport, "orders").await;
    let live = SubscribeOptions::broadcast(Start::Latest);
    let mut live = Arc::clone(&transport).subscribe(&event, live).await.unwrap();
    let mut works = work_on(&transport, &event).await;
    ask(&mut client, "XADD orders 5000000000000-1 payload hello meta.colour red key k1 id n1 ts 77").await;
    ask(&mut client, "XADD orders 5000000000000-2 temperature 21 unit C").await;
    for subscription in [&mut live, &mut works] {
        let first = next(subscription).await;
        let message = &first.message;
        assert_eq!((&message.payload[..], message.id.as_str()), (&b"hello"[..], "n1"));
        assert_eq!((message.key.as_deref(), message.timestamp.as_millis()), (Some("k1"), 77));
        assert_eq!(message.metadata.get("colour").map(String::as_str), Some("red"));
        let second = next(subscription).await;
        assert_eq!(&second.message.payload[..], br#"{"temperature":"21","unit":"C"}"#);
        assert_eq!(second.message.id.as_str(), "5000000000000-2");
        first.ack().await.unwrap();
        second.ack().await.unwrap();
    }
    let pending = ask(&mut client, "XPENDING orders default").await;
    assert!(matches!(&pending, Value::Array(parts) if parts[0] == Value::Int(0)), "{pending:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_there_is_an_event_and_stays_as_it_is() {
    let server = Redis::v7_0().start().unwrap();
    let (transport, mut client) = (connect(&server.url()).await, native(&server.url()).await);
    ask(&mut client, "XADD orders * payload old").await;
    let event = event("orders");
    let beginning = || ReadRequest { start: Start::Beginning, limit: 10, max_bytes: 1 << 20 };
    let page = transport.read(&event, beginning()).await.unwrap();
    assert_eq!(page.messages.len(), 1);
    publish(&transport, &event, "new").await;
    let bounded = busgate_core::EventConfig { retention_messages: Some(1), ..Default::default() };
    transport.register(&event, &bounded).await.unwrap();
    publish(&transport, &event, "newer").await;
    assert_eq!(transport.read(&event, beginning()).await.unwrap().messages.len(), 3, "nothing was trimmed");
    transport.unregister(&event).await.unwrap();
    assert_eq!(ask(&mut client, "XLEN orders").await, Value::Int(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_stream_is_the_event() {
    let server = Redis::v7_0().start().unwrap();
    let mut client = native(&server.url()).await;
    let transport = connect(&format!("{}?prefix=p:&map.orders=legacy/orders", server.url())).await;
    publish(&transport, &event("orders"), "a").await;
    assert_eq!(ask(&mut client, "XLEN legacy/orders").await, Value::Int(1));
    let answer = transport.publish(&event("others"), vec![message("a")]).await.pop().unwrap();
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotFound);
    let names: Vec<_> = transport.events().await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, [event("orders")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_holds_for_too_long_is_taken_over() {
    let server = Redis::v7_0().start().unwrap();
    let mut client = native(&server.url()).await;
    let transport = connect(&format!("{}?reclaim_after=300ms", server.url())).await;
    let event = registered(&transport, "orders").await;
    drop(work_on(&transport, &event).await);
    publish(&transport, &event, "a").await;
    ask(&mut client, "XREADGROUP GROUP default other COUNT 1 STREAMS orders >").await;
    let mut works = work_on(&transport, &event).await;
    let asked = Instant::now();
    let delivery = next(&mut works).await;
    assert_eq!((delivery.message.id.as_str(), delivery.attempt), ("a", 2), "after {:?}", asked.elapsed());
    delivery.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_shared_with_another_client_of_the_group() {
    let server = Redis::v7_0().start().unwrap();
    let (transport, mut client) = (connect(&server.url()).await, native(&server.url()).await);
    let event = registered(&transport, "orders").await;
    drop(work_on(&transport, &event).await);
    publish(&transport, &event, "a").await;
    let taken = ask(&mut client, "XREADGROUP GROUP default other COUNT 1 NOACK STREAMS orders >").await;
    assert_ne!(taken, Value::Nil);
    publish(&transport, &event, "b").await;
    assert_eq!(next(&mut work_on(&transport, &event).await).await.message.id.as_str(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_trims_is_told_as_a_gap() {
    let server = Redis::v7_0().start().unwrap();
    let (transport, mut client) = (connect(&server.url()).await, native(&server.url()).await);
    ask(&mut client, "XADD orders * payload 0").await;
    let event = event("orders");
    let options = SubscribeOptions::broadcast(Start::Beginning);
    let mut reads = Arc::clone(&transport).subscribe(&event, options).await.unwrap();
    for nth in 1..6 {
        ask(&mut client, &format!("XADD orders * payload {nth}")).await;
    }
    ask(&mut client, "XTRIM orders MAXLEN 2").await;
    let found = timeout(PATIENCE, reads.next()).await.unwrap();
    let Some(Ok(Item::Gap(gap))) = found else { panic!("wanted a gap, found {found:?}") };
    assert_eq!(gap.missed, Some(4));
    assert_eq!(&next(&mut reads).await.message.payload[..], b"4");
    assert!(timeout(Duration::from_millis(100), reads.next()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_says_of_a_message_in_a_run_has_no_effect() {
    let server = Redis::v7_0().start().unwrap();
    let (transport, mut client) = (connect(&server.url()).await, native(&server.url()).await);
    let event = registered(&transport, "orders").await;
    let ids = numbered(2);
    publish_all(&transport, &event, &ids).await;
    let mut works = work_on(&transport, &event).await;
    next(&mut works).await.ack().await.unwrap();
    // The other was handed to this node with it, and nobody has found it yet.
    let Value::Array(entries) = ask(&mut client, "XRANGE orders - +").await else { panic!("no entries") };
    let (id, _): (String, Value) = redis::from_redis_value(entries[1].clone()).unwrap();
    assert_eq!(ask(&mut client, &format!("XACK orders default {id}")).await, Value::Int(0));
    let claimed = ask(&mut client, &format!("XCLAIM orders default other 0 {id}")).await;
    assert_eq!(claimed, Value::Array(Vec::new()));
    let left = next(&mut works).await;
    assert_eq!((left.message.id.as_str(), left.attempt), ("m1", 1));
    assert_eq!(left.ack().await.unwrap(), Settled::Acked);
}
