//! Layers: ours, and one of a user.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    Bus, Error, ErrorKind, Failure, Receipt, Result,
    bus::{
        BoxedHandling, BoxedPublishing, Context, Handling, Layer, Publication, Publishing, Service,
        middleware::{Deduplicate, Retry, Timeout, Trace, Traceparent},
    },
};
use tokio::time::{Instant, sleep};

use crate::stage::{Notes, Order, Stage, until};

/// A user's layer: writes down who was there, before and after.
#[derive(Clone)]
struct Note(&'static str, Notes<String>);

struct Noting<S>(Note, S);

impl<S> Layer<S> for Note {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting(self.clone(), inner)
    }
}

impl<S: Handling> Service<Context> for Noting<S> {
    type Response = ();
    type Error = Failure;

    async fn call(&self, context: Context) -> Result<(), Failure> {
        self.0.1.write(format!("{} in", self.0.0));
        let result = self.1.call(context).await;
        self.0.1.write(format!("{} out", self.0.0));
        result
    }
}

#[tokio::test(start_paused = true)]
async fn the_layer_added_first_is_the_outermost() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let note = |name| Note(name, notes.clone());
    let bus =
        Bus::builder(Arc::clone(&stage.transport)).handling(note("bus 1")).handling(note("bus 2")).build();
    let handled = notes.clone();
    let worker = bus.event::<Order>("orders").unwrap().subscribe().layer(note("own 1")).layer(note("own 2"));
    let worker = worker.handle(move |_, _| {
        handled.write(String::from("handler"));
        async { Ok(()) }
    });
    let worker = worker.await.unwrap();
    stage.publish(0..1).await;
    until(&worker, |stats| stats.handled == 1).await;
    let order = [
        "bus 1 in",
        "bus 2 in",
        "own 1 in",
        "own 2 in",
        "handler",
        "own 2 out",
        "own 1 out",
        "bus 2 out",
        "bus 1 out",
    ];
    assert_eq!(notes.read(), order);
}

#[tokio::test(start_paused = true)]
async fn retry_tries_again_under_one_lease() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").layer(Retry::new(3)).handle(move |_, context| {
        let count = seen.write((context.attempt(), Instant::now()));
        async move { if count < 3 { Err(Failure::retry("not yet")) } else { Ok(()) } }
    });
    let worker = worker.await.unwrap();
    stage.publish(0..1).await;
    until(&worker, |stats| stats.handled == 1).await;
    let seen = notes.read();
    assert!(seen.iter().all(|(attempt, _)| *attempt == 1));
    let pauses = [seen[1].1 - seen[0].1, seen[2].1 - seen[1].1].map(|pause| pause.as_millis());
    assert!((100..=112).contains(&pauses[0]) && (200..=222).contains(&pauses[1]), "{pauses:?}");
    assert_eq!(worker.stats().failed, 0);
}

#[tokio::test(start_paused = true)]
async fn retry_lets_answers_pass_and_gives_up_at_last() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let worker = stage.orders.subscribe().group("billing").layer(Retry::new(3)).max_deliver(1);
    let worker = worker.handle(move |order: Order, _| {
        seen.write(order.id);
        async move {
            Err(match order.id {
                0 => Failure::reject("never"),
                1 => Failure::retry_after(Duration::from_secs(1)),
                _ => Failure::retry("not yet"),
            })
        }
    });
    let _worker = worker.await.unwrap();
    stage.publish(0..3).await;
    stage.dead(3).await;
    assert_eq!(notes.read(), [0, 1, 2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn timeout_gives_a_handler_up() {
    let stage = Stage::new().await;
    let worker = stage
        .orders
        .subscribe()
        .group("billing")
        .layer(Timeout::after(Duration::from_secs(2)))
        .max_deliver(1);
    let worker = worker.handle(|_, _| std::future::pending()).await.unwrap();
    stage.publish(0..1).await;
    assert_eq!(stage.dead(1).await[0]["busgate-dlq-last-error"], "not done within 2s");
    assert_eq!(worker.stats().failed, 1);
}

#[tokio::test(start_paused = true)]
async fn the_dedup_layer_runs_a_handler_once() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let layer = Deduplicate::within(Duration::from_secs(3600));
    let worker = stage.orders.subscribe().group("billing").layer(layer).concurrency(4).handle(
        move |order: Order, _| {
            let count = seen.write(order.id);
            async move {
                sleep(Duration::from_millis(100)).await;
                // Only what was done is done.
                if count == 1 { Err(Failure::retry("not yet")) } else { Ok(()) }
            }
        },
    );
    let worker = worker.await.unwrap();
    // Longer apart than the event itself remembers.
    for _ in 0..3 {
        stage.orders.publish(&Order::new(1)).id("one").await.unwrap();
        sleep(Duration::from_secs(300)).await;
    }
    until(&worker, |stats| stats.handled == 3).await;
    assert_eq!(notes.read(), [1, 1]);
    assert_eq!(stage.undone("billing").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_not_done_before_the_first_is() {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let seen = notes.clone();
    let layer = Deduplicate::within(Duration::from_secs(3600));
    let subscribe = stage.orders.subscribe().group("billing").concurrency(2).extend_leases(false);
    let worker = subscribe.ack_wait(Duration::from_secs(1)).layer(layer).handle(move |_, _| {
        let count = seen.write(Instant::now());
        async move {
            // The first outlives its lease and fails; its redelivery waits for that, and is handled.
            sleep(Duration::from_secs(5)).await;
            if count == 1 { Err(Failure::retry("not yet")) } else { Ok(()) }
        }
    });
    let worker = worker.await.unwrap();
    stage.publish(0..1).await;
    until(&worker, |stats| stats.handled >= 1).await;
    let at = notes.read();
    assert_eq!((at[1] - at[0]).as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_publishes_stays_in_its_trace() {
    let stage = Stage::new().await;
    let bus = Bus::builder(Arc::clone(&stage.transport)).publishing(Trace).handling(Trace).build();
    let (orders, shipped) = (bus.event::<Order>("orders").unwrap(), bus.event::<Order>("shipped").unwrap());
    shipped.register().await.unwrap();
    let (next, notes) = (shipped.clone(), Notes::new());
    let seen = notes.clone();
    let worker = orders.subscribe().group("shipping").handle(move |order, _| {
        let (next, seen) = (next.clone(), seen.clone());
        async move {
            seen.write(Traceparent::current().expect("a trace"));
            next.publish(&order).await?;
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    orders.publish(&Order::new(1)).await.unwrap();
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    orders.publish(&Order::new(2)).traceparent(given).await.unwrap();
    until(&worker, |stats| stats.handled == 2).await;

    let trace =
        |message: &busgate_core::Message| message.metadata["traceparent"].parse::<Traceparent>().unwrap();
    let ordered: Vec<_> = stage.held("orders").await.iter().map(|(_, message)| trace(message)).collect();
    let shipped: Vec<_> = stage.held("shipped").await.iter().map(|(_, message)| trace(message)).collect();
    assert_eq!(ordered[1].to_string(), given);
    for (at, handled) in notes.read().into_iter().enumerate() {
        assert_eq!(handled.trace_id(), ordered[at].trace_id());
        assert_eq!(shipped[at].trace_id(), ordered[at].trace_id());
        assert!(handled != ordered[at] && shipped[at] != handled);
    }
    assert_ne!(ordered[0].trace_id(), ordered[1].trace_id());
    assert!(Traceparent::current().is_none());
}

/// A user's layer around publishing: the first calls fail in part.
#[derive(Clone)]
struct Flaky(Notes<Vec<String>>, Error);

struct Failing<S>(Flaky, S);

impl<S> Layer<S> for Flaky {
    type Service = Failing<S>;

    fn layer(&self, inner: S) -> Failing<S> {
        Failing(self.clone(), inner)
    }
}

impl<S: Publishing> Service<Publication> for Failing<S> {
    type Response = Vec<Result<Receipt>>;
    type Error = Error;

    async fn call(&self, request: Publication) -> Result<Vec<Result<Receipt>>> {
        let ids = request.messages.iter().map(|message| message.id.to_string()).collect();
        let first = self.0.0.write(ids) == 1;
        let mut answers = self.1.call(request).await?;
        if first {
            answers[1] = Err(self.0.1.clone());
        }
        Ok(answers)
    }
}

async fn publish_flaky(error: Error) -> (Vec<Vec<String>>, Vec<Result<Receipt>>, usize) {
    let stage = Stage::new().await;
    let notes = Notes::new();
    let bus = Bus::builder(Arc::clone(&stage.transport))
        .publishing(Retry::new(3))
        .publishing(Flaky(notes.clone(), error));
    let orders = bus.build().event::<Order>("orders").unwrap().identified_by(|order| order.id.to_string());
    let answers = orders.publish_many(&[Order::new(0), Order::new(1), Order::new(2)]).await;
    (notes.read(), answers, stage.held("orders").await.len())
}

#[tokio::test(start_paused = true)]
async fn retry_publishes_again_only_what_failed_and_under_its_id() {
    let (calls, answers, held) = publish_flaky(Error::unavailable("away")).await;
    assert_eq!(calls, [vec!["0", "1", "2"], vec!["1"]]);
    assert!(answers.iter().all(Result::is_ok));
    // It was there already: the answer got lost.
    assert!(answers[1].as_ref().unwrap().duplicate);
    assert_eq!(held, 3);
}

#[tokio::test(start_paused = true)]
async fn retry_does_not_repeat_what_can_not_succeed() {
    let (calls, answers, _) = publish_flaky(Error::invalid("no")).await;
    assert_eq!(calls.len(), 1);
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_slow_publish_times_out_with_an_unknown_effect() {
    struct Slow<S>(S);
    #[derive(Clone, Copy)]
    struct Slowly;
    impl<S> Layer<S> for Slowly {
        type Service = Slow<S>;
        fn layer(&self, inner: S) -> Slow<S> {
            Slow(inner)
        }
    }
    impl<S: Publishing> Service<Publication> for Slow<S> {
        type Response = Vec<Result<Receipt>>;
        type Error = Error;
        async fn call(&self, request: Publication) -> Result<Vec<Result<Receipt>>> {
            sleep(Duration::from_secs(5)).await;
            self.0.call(request).await
        }
    }
    let stage = Stage::new().await;
    let bus = Bus::builder(Arc::clone(&stage.transport)).publishing(Timeout::after(Duration::from_secs(1)));
    let orders = bus.publishing(Slowly).build().event::<Order>("orders").unwrap();
    let error = orders.publish(&Order::new(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, busgate_core::Effect::Unknown));
}

#[test]
fn layers_of_a_bus_are_checked_by_the_compiler() {
    fn handling<L: Layer<BoxedHandling, Service: Handling>>(_: L) {}
    fn publishing<L: Layer<BoxedPublishing, Service: Publishing>>(_: L) {}
    handling(Trace);
    handling(Retry::new(1));
    handling(Deduplicate::within(Duration::ZERO));
    handling(Timeout::after(Duration::ZERO));
    publishing(Trace);
    publishing(Retry::new(1));
    publishing(Timeout::after(Duration::ZERO));
}
