//! Stopping, dropping, closing: nothing is lost, and what was not handled is not counted.

use std::{sync::Arc, time::Duration};

use busgate_core::{Bus, ErrorKind, bus::SubscriberState};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use crate::stage::{Notes, Order, Stage, until};

/// The ids and attempts that a new member of the group gets within a moment.
async fn left(stage: &Stage, group: &str) -> Vec<(u64, u32)> {
    let notes = Notes::new();
    let seen = notes.clone();
    let bus = Bus::new(Arc::clone(&stage.transport));
    let orders = bus.event::<Order>("orders").unwrap();
    let worker = orders.subscribe().group(group).handle(move |order, context| {
        seen.write((order.id, context.attempt()));
        async { Ok(()) }
    });
    let worker = worker.await.unwrap();
    sleep(Duration::from_millis(50)).await;
    worker.stop().await;
    notes.read()
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_what_is_in_hand() {
    let stage = Stage::new().await;
    stage.publish(0..10).await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").concurrency(2).handle(move |order, _| {
        let seen = seen.clone();
        async move {
            sleep(Duration::from_secs(5)).await;
            seen.write(order.id);
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    worker.stop().await;
    assert_eq!(started.elapsed().as_secs(), 4);
    assert_eq!(notes.read(), [0, 1]);
    // The rest is there at once, and nobody holds it against them.
    assert_eq!(left(&stage, "billing").await, (2..10).map(|id| (id, 1)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn close_returns_the_rest_uncounted() {
    let stage = Stage::new().await;
    stage.publish(0..3).await;
    let worker = stage.orders.subscribe().group("billing").concurrency(2);
    let worker = worker.handle(|_, _| std::future::pending()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    stage.bus.close_within(Duration::from_secs(3)).await;
    assert_eq!(started.elapsed().as_secs(), 3);
    assert!(matches!(worker.state(), SubscriberState::Ended(None)));
    assert_eq!(left(&stage, "billing").await, [(0, 1), (1, 1), (2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn stop_within_gives_up_at_its_deadline_alone() {
    let stage = Stage::new().await;
    stage.publish(0..2).await;
    let worker = stage.orders.subscribe().group("billing").concurrency(2).handle(|order, _| async move {
        if order.id == 0 {
            sleep(Duration::from_secs(2)).await;
            return Ok(());
        }
        std::future::pending().await
    });
    let worker = worker.await.unwrap();
    sleep(Duration::from_secs(1)).await;
    worker.stop_within(Duration::from_secs(3)).await;
    assert_eq!(left(&stage, "billing").await, [(1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_handle_loses_nothing() {
    let stage = Stage::new().await;
    stage.publish(0..3).await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").handle(move |order, _| {
        let seen = seen.clone();
        async move {
            sleep(Duration::from_secs(2)).await;
            seen.write(order.id);
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    sleep(Duration::from_secs(1)).await;
    drop(worker);
    // What is in hand goes on, and nobody else gets it.
    assert_eq!(left(&stage, "billing").await, [(1, 1), (2, 1)]);
    assert_eq!(notes.wait(1).await, [0]);
    stage.publish(3..4).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(left(&stage, "billing").await, [(3, 1)]);
    assert_eq!(notes.read(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_detached_subscription_runs_until_the_bus_is_closed() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").handle(move |order, _| {
        seen.write(order.id);
        async { Ok(()) }
    });
    worker.await.unwrap().detach();
    stage.publish(0..1).await;
    notes.wait(1).await;
    stage.bus.close().await;
    let bus = Bus::new(Arc::clone(&stage.transport));
    bus.event::<Order>("orders").unwrap().publish(&Order::new(1)).await.unwrap();
    assert_eq!(left(&stage, "billing").await, [(1, 1)]);
    assert_eq!(notes.read(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_bus_refuses() {
    let stage = Stage::new().await;
    stage.bus.close().await;
    let published = stage.orders.publish(&Order::new(0)).await.unwrap_err();
    assert_eq!(published.kind(), ErrorKind::Unavailable);
    let many = stage.orders.publish_many(&[Order::new(0)]).await;
    assert_eq!(many[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    let subscribed = stage.orders.subscribe().handle(|_, _| async { Ok(()) }).await.unwrap_err();
    assert_eq!(subscribed.kind(), ErrorKind::Unavailable);
    // It was the bus, not the transport.
    assert_eq!(stage.transport.events().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_hand_can_publish_while_the_bus_closes() {
    let stage = Stage::new().await;
    let shipped = stage.bus.event::<Order>("shipped").unwrap();
    shipped.register().await.unwrap();
    let next = shipped.clone();
    let worker = stage.orders.subscribe().group("shipping").handle(move |order, _| {
        let next = next.clone();
        async move {
            sleep(Duration::from_secs(2)).await;
            next.publish(&order).await?;
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    stage.publish(0..1).await;
    sleep(Duration::from_secs(1)).await;
    // Also when two close it.
    tokio::join!(stage.bus.close(), stage.bus.close());
    assert_eq!(stage.held("shipped").await.len(), 1);
    assert_eq!(worker.stats().handled, 1);
}

#[tokio::test(start_paused = true)]
async fn an_ended_subscription_says_why() {
    let stage = Stage::new().await;
    let subscribe = |name: &str| stage.orders.subscribe().consumer(name).handle(|_, _| async { Ok(()) });
    let (first, second) = (subscribe("audit").await.unwrap(), subscribe("audit").await.unwrap());
    assert_eq!(first.ended().await.unwrap_err().kind(), ErrorKind::Exists);
    assert!(matches!(second.state(), SubscriberState::Running));
    assert!(timeout(Duration::from_secs(1), second.ended()).await.is_err());

    stage.transport.unregister(stage.orders.name()).await.unwrap();
    second.ended().await.unwrap();
    assert!(matches!(second.state(), SubscriberState::Ended(None)));

    stage.orders.register().await.unwrap();
    let third = subscribe("audit").await.unwrap();
    stage.transport.close().await.unwrap();
    assert_eq!(third.ended().await.unwrap_err().kind(), ErrorKind::Unavailable);
    third.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_on_when_all_handles_are_gone() {
    let stage = Stage::new().await;
    let alive = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&alive);
    let worker = stage.orders.subscribe().group("billing").concurrency(4).handle(move |_, _| {
        let held = Arc::clone(&held);
        async move {
            let _ = held.acquire().await;
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    stage.publish(0..2).await;
    sleep(Duration::from_secs(1)).await;
    drop((worker, stage));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test(start_paused = true)]
async fn stopping_twice_over_is_fine() {
    let stage = Stage::new().await;
    let worker = stage.orders.subscribe().group("billing").handle(|_, _| async { Ok(()) }).await.unwrap();
    stage.publish(0..5).await;
    until(&worker, |stats| stats.handled == 5).await;
    tokio::join!(stage.bus.close(), stage.bus.close());
    worker.stop().await;
    assert_eq!(stage.undone("billing").await, 0);
}
