//! How many messages are handled at a time, and in which order.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use busgate_core::bus::Subscribe;
use tokio::time::sleep;

use crate::stage::{Notes, Order, Stage, until};

#[tokio::test(start_paused = true)]
async fn the_limit_bounds_concurrency() {
    let stage = Stage::new().await;
    stage.publish(0..40).await;
    for limit in [1, 7] {
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let highest = Arc::clone(&most);
        let group = format!("group-{limit}");
        let worker = stage.orders.subscribe().group(&group).concurrency(limit).handle(move |_, _| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(10)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        });
        let worker = worker.await.unwrap();
        until(&worker, |stats| stats.handled == 40).await;
        assert_eq!(highest.load(Ordering::SeqCst), limit);
    }
}

/// Publishes 25 orders of each of 4 customers, handles them with pauses of any length, and tells the order in which each
/// customer's were begun and done.
async fn keyed(
    stage: &Stage,
    subscribe: Subscribe<Order, busgate_core::bus::Json>,
) -> BTreeMap<String, Vec<u64>> {
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = subscribe.concurrency(8).handle(move |order: Order, context| {
        let seen = seen.clone();
        async move {
            let id = context.id().to_string();
            let pause = id.bytes().fold(order.id, |sum, byte| sum * 31 % 1009 + u64::from(byte)) % 20;
            seen.write((order.customer.clone(), order.id * 2));
            sleep(Duration::from_millis(pause)).await;
            seen.write((order.customer, order.id * 2 + 1));
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    let orders = stage.orders.clone().keyed_by(|order| order.customer.clone());
    let all: Vec<_> =
        (0..25).flat_map(|id| ["a", "b", "c", "d"].map(|customer| Order::of(customer, id))).collect();
    for receipt in orders.publish_many(&all).await {
        receipt.unwrap();
    }
    until(&worker, |stats| stats.handled == 100).await;
    let mut by_customer: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (customer, step) in notes.read() {
        by_customer.entry(customer).or_default().push(step);
    }
    by_customer
}

fn assert_one_after_the_other(by_customer: &BTreeMap<String, Vec<u64>>) {
    assert_eq!(by_customer.len(), 4);
    for steps in by_customer.values() {
        assert_eq!(*steps, (0..50).collect::<Vec<u64>>());
    }
}

#[tokio::test(start_paused = true)]
async fn keys_stay_in_order_under_concurrency() {
    let stage = Stage::new().await;
    assert_one_after_the_other(&keyed(&stage, stage.orders.subscribe().group("billing")).await);
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_broadcast_stay_in_order_under_concurrency() {
    let stage = Stage::new().await;
    assert_one_after_the_other(&keyed(&stage, stage.orders.subscribe()).await);
    // With hardly any room to wait in, too.
    assert_one_after_the_other(&keyed(&stage, stage.orders.subscribe().max_in_flight(8)).await);
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_keeps_the_order() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").handle(move |order, _| {
        let seen = seen.clone();
        async move {
            sleep(Duration::from_millis(order.id * 7 % 5)).await;
            seen.write(order.id);
            Ok(())
        }
    });
    let _worker = worker.await.unwrap();
    stage.publish(0..50).await;
    assert_eq!(notes.wait(50).await, (0..50).collect::<Vec<u64>>());
}
