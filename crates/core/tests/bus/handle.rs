//! What a handler answers is what becomes of the message.

use std::{io, time::Duration};

use busgate_core::{
    Bus, ConsumerName, Effect, Failure, Gap, Message, MessageId, RetryPolicy, Start, SubscribeOptions,
    bus::Raw,
};
use busgate_transports_memory::MemoryConfig;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};

use crate::stage::{Notes, Order, Stage, until};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn ok_acks() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").handle(move |order, context| {
        seen.write((order, context.attempt(), context.comes_back()));
        async { Ok(()) }
    });
    let worker = worker.await.unwrap();
    stage.orders.publish(&Order::new(7)).await.unwrap();
    notes.wait(1).await;
    sleep(LONG).await;
    assert_eq!(notes.read(), [(Order::new(7), 1, true)]);
    assert_eq!(stage.undone("billing").await, 0);
    assert_eq!((worker.stats().handled, worker.stats().stale), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn err_nacks_with_its_text() {
    let stage = Stage::new().await;
    let backoff = [Duration::from_millis(20)];
    let worker =
        stage.orders.subscribe().group("billing").max_deliver(3).backoff(backoff).handle(|_, _| async {
            // Any error of the standard library's kind, by `?`.
            Err(io::Error::other("no paper"))?;
            Ok(())
        });
    let worker = worker.await.unwrap();
    stage.publish(0..1).await;
    let story = &stage.dead(1).await[0];
    assert_eq!(story["busgate-dlq-attempts"], "3");
    assert_eq!(story["busgate-dlq-first-error"], "no paper");
    assert_eq!(story["busgate-dlq-last-error"], "no paper");
    assert_eq!(worker.stats().failed, 3);
}

#[tokio::test(start_paused = true)]
async fn what_the_bus_says_of_retries_holds_unless_a_subscription_does() {
    let stage = Stage::new().await;
    let retry = RetryPolicy { max_deliver: 2, ..RetryPolicy::default() };
    let bus = Bus::builder(std::sync::Arc::clone(&stage.transport)).retry(retry).build();
    let orders = bus.event::<Order>("orders").unwrap();
    let fail = |_, _| async { Err(Failure::retry("never")) };
    let _by_default = orders.subscribe().group("a").handle(fail).await.unwrap();
    let _by_itself = orders.subscribe().group("b").max_deliver(3).handle(fail).await.unwrap();
    stage.publish(0..1).await;
    let mut attempts: Vec<_> =
        stage.dead(2).await.into_iter().map(|story| story["busgate-dlq-attempts"].clone()).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, ["2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_reject_is_a_dead_letter_at_once() {
    let stage = Stage::new().await;
    let worker = stage.orders.subscribe().group("billing");
    let worker = worker.handle(|_, _| async { Err(Failure::reject("no such customer")) }).await.unwrap();
    stage.publish(0..1).await;
    let story = &stage.dead(1).await[0];
    assert_eq!(story["busgate-dlq-attempts"], "1");
    assert_eq!(story["busgate-dlq-last-error"], "no such customer");
    assert_eq!((worker.stats().rejected, worker.stats().failed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn retry_after_comes_back_after_that_long() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").handle(move |_, _| {
        let count = seen.write(Instant::now());
        async move {
            if count == 1 {
                return Err(Failure::retry_after(Duration::from_secs(7)));
            }
            Ok(())
        }
    });
    let _worker = worker.await.unwrap();
    stage.publish(0..1).await;
    let at = notes.wait(2).await;
    let waited = at[1] - at[0];
    assert!(waited >= Duration::from_secs(7) && waited < Duration::from_millis(7_100), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_decode_is_rejected_once() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").handle(move |order, _| {
        seen.write(order.id);
        async { Ok(()) }
    });
    let worker = worker.await.unwrap();
    let mut wrong = Message::new(MessageId::generate(), r#"{"id": "seven"}"#);
    let mut other = Message::new(MessageId::generate(), r#"{"id": 7, "customer": "c"}"#);
    wrong.content_type = Some(String::from("application/json"));
    other.content_type = Some(String::from("text/csv; header=present"));
    stage.transport.publish(stage.orders.name(), vec![wrong, other]).await;
    stage.publish(1..2).await;
    let stories = stage.dead(2).await;
    assert!(stories[0]["busgate-dlq-last-error"].starts_with("the payload does not decode: invalid type"));
    assert!(stories[1]["busgate-dlq-last-error"].contains("text/csv; header=present"));
    assert!(stories.iter().all(|story| story["busgate-dlq-attempts"] == "1"));
    assert_eq!(notes.wait(1).await, [1]);
    sleep(LONG).await;
    assert_eq!(worker.stats().rejected, 2);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_handler_loses_nothing() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").max_deliver(2).handle(move |order, context| {
        seen.write((order.id, context.attempt()));
        assert!(order.id != 0, "no order {}", order.id);
        async move {
            assert!(order.id != 1 || context.attempt() > 1, "not yet");
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    stage.publish(0..3).await;
    until(&worker, |stats| stats.handled == 2 && stats.panicked == 3).await;
    let mut seen = notes.read();
    seen.sort_unstable();
    assert_eq!(seen, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]);
    assert_eq!(stage.dead(1).await[0]["busgate-dlq-last-error"], "the handler panicked: no order 0");
    assert_eq!(stage.undone("billing").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_handler_is_not_redelivered() {
    let stage = Stage::new().await;
    let subscribe = stage.orders.subscribe().group("billing").ack_wait(Duration::from_secs(1)).concurrency(2);
    let worker = subscribe.handle(|_, _| async {
        sleep(LONG).await;
        Ok(())
    });
    let worker = worker.await.unwrap();
    stage.publish(0..1).await;
    sleep(LONG * 2).await;
    let stats = worker.stats();
    assert_eq!((stats.handled, stats.stale, stats.unsettled), (1, 0, 0));
    assert_eq!(stage.undone("billing").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_extended_runs_out() {
    let stage = Stage::new().await;
    let subscribe = stage.orders.subscribe().group("billing").ack_wait(Duration::from_secs(1)).concurrency(2);
    let worker = subscribe.extend_leases(false).handle(|_, context| async move {
        if context.attempt() == 1 {
            sleep(Duration::from_secs(3)).await;
        }
        Ok(())
    });
    let worker = worker.await.unwrap();
    stage.publish(0..1).await;
    until(&worker, |stats| stats.handled == 2).await;
    until(&worker, |stats| stats.stale == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_without_a_name_only_counts_failures() {
    let stage = Stage::new().await;
    let reader = stage.orders.subscribe().handle(|order, context| async move {
        assert!(!context.comes_back());
        match order.id {
            0 => Err(Failure::retry("not today")),
            1 => Err(Failure::reject("never")),
            _ => Ok(()),
        }
    });
    let reader = reader.await.unwrap();
    stage.publish(0..3).await;
    until(&reader, |stats| stats.handled == 1).await;
    sleep(LONG).await;
    let stats = reader.stats();
    assert_eq!((stats.handled, stats.failed, stats.rejected, stats.unsettled), (1, 1, 1, 0));
    assert!(stage.held("_dlq.orders").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_named_consumer_goes_on_where_it_was() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    for round in 0..2 {
        let seen = notes.clone();
        let consumer = stage.orders.subscribe().consumer("audit").start(Start::Beginning);
        let consumer = consumer.handle(move |order, _| {
            seen.write(order.id);
            async { Ok(()) }
        });
        let consumer = consumer.await.unwrap();
        stage.publish(round * 2..round * 2 + 2).await;
        until(&consumer, |stats| stats.handled == 2).await;
        consumer.stop().await;
    }
    assert_eq!(notes.read(), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_and_counted() {
    let config = MemoryConfig { max_messages: 2, ..MemoryConfig::default() };
    let stage = Stage::with(config).await;
    stage.publish(0..1).await;
    let first = stage.held("orders").await[0].0.clone();
    stage.publish(1..5).await;
    let gaps = Notes::new();
    let told = gaps.clone();
    let reader = stage.orders.subscribe().start(Start::After(first)).on_gap(move |gap: &Gap| {
        told.write(gap.missed);
    });
    let reader = reader.handle(|_, _| async { Ok(()) }).await.unwrap();
    until(&reader, |stats| stats.handled == 2).await;
    assert_eq!(gaps.read(), [Some(2)]);
    assert_eq!(reader.stats().gaps, 1);
}

#[tokio::test(start_paused = true)]
async fn figures_and_names_out_of_bounds_are_refused() {
    let stage = Stage::new().await;
    let subscribe = || stage.orders.subscribe();
    for (subscribe, named) in [
        (subscribe().concurrency(0), "concurrency"),
        (subscribe().concurrency(10_000), "concurrency"),
        (subscribe().concurrency(8).max_in_flight(7), "max_in_flight"),
        (subscribe().group("a b"), "worker group"),
        (subscribe().consumer(""), "consumer"),
        (subscribe().ack_wait(Duration::ZERO), "ack_wait"),
        (subscribe().max_deliver(0), "max_deliver"),
    ] {
        let error = subscribe.handle(|_, _| async { Ok(()) }).await.unwrap_err();
        assert!(error.message().contains(named), "{named}: {error}");
        assert_eq!(error.effect(), Effect::None);
    }
}

#[tokio::test(start_paused = true)]
async fn raw_payloads_pass_as_they_are() {
    let stage = Stage::new().await;
    let raw = stage.bus.event::<Bytes>("orders").unwrap().with_codec(Raw);
    let notes = Notes::new();
    let seen = notes.clone();
    let reader = raw.subscribe().handle(move |payload, _| {
        seen.write(payload);
        async { Ok(()) }
    });
    let _reader = reader.await.unwrap();
    raw.publish(&Bytes::from_static(b"\xff\x00")).await.unwrap();
    stage.publish(1..2).await;
    let seen = notes.wait(2).await;
    assert_eq!(seen[0], Bytes::from_static(b"\xff\x00"));
    assert_eq!(seen[1], Bytes::from_static(br#"{"id":1,"customer":"nobody"}"#));
}

#[tokio::test(start_paused = true)]
async fn others_that_use_the_transport_see_the_same_messages() {
    let stage = Stage::new().await;
    let options = SubscribeOptions::consumer(ConsumerName::new("plain").unwrap(), Start::Beginning);
    let transport = std::sync::Arc::clone(&stage.transport);
    let mut plain = transport.subscribe(stage.orders.name(), options).await.unwrap();
    stage.publish(3..4).await;
    let Some(Ok(busgate_core::Item::Delivery(delivery))) = plain.next().await else { panic!("a delivery") };
    assert_eq!(delivery.message.payload, br#"{"id":3,"customer":"nobody"}"#[..]);
    assert_eq!(delivery.message.content_type.as_deref(), Some("application/json"));
}
