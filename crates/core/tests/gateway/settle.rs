//! Leases through the gateway: who may settle, when they run out, what comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use busgate_conformance::{Overlay, overlaid};

use busgate_core::{
    AckMode, AckSecret, AckStatus, AllowAll, Caller, ConsumerName, Error, ErrorKind, Gateway, GatewayConfig,
    Nack, Result, SettleAction, SettleRequest, Settled, Settlement, Start, SubscribeRequest, SystemClock,
    Transport,
};
use futures_util::{FutureExt, future::BoxFuture, poll};
use tokio::sync::Semaphore;

use crate::stage::{
    ACK_WAIT, ack, broadcast, config, draft, event, gateway, gateway_over, me, memory, next, next_text,
    pattern, pool, publish, quiet, register, settle, subscribe, text,
};

#[tokio::test(start_paused = true)]
async fn an_acked_message_is_done() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    let outbound = next(&mut session).await;
    assert_eq!(ack(&gateway, &outbound).await, AckStatus::Acked);
    assert_eq!(ack(&gateway, &outbound).await, AckStatus::Stale);
    quiet(&mut session, 3 * ACK_WAIT).await;
}

/// A transport that has settled long before it can say so, as one that syncs.
#[derive(Debug)]
struct Slow {
    beneath: Arc<dyn Transport>,
    answers: Semaphore,
    fails: AtomicBool,
}

#[async_trait]
impl Overlay for Slow {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.beneath
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let (count, fails) = (batch.len(), self.fails.load(Ordering::Relaxed));
        let settled = if fails { Vec::new() } else { self.beneath.settle(batch).await };
        self.answers.acquire().await.unwrap().forget();
        if fails { vec![Err(Error::unavailable("away")); count] } else { settled }
    }
}

/// Three messages for a client that may hold one, and acks the first: its gateway, and what it is answered.
async fn acks_slowly(
    fails: bool,
) -> (Arc<Slow>, Gateway, busgate_core::Session, BoxFuture<'static, AckStatus>) {
    let (answers, fails) = (Semaphore::new(0), AtomicBool::new(fails));
    let slow = Arc::new(Slow { beneath: memory(), answers, fails });
    let gateway = gateway_over(overlaid(Arc::clone(&slow)), config());
    register(&gateway, "e").await;
    for text in ["1", "2", "3"] {
        publish(&gateway, "e", text).await;
    }
    let one = SubscribeRequest { max_in_flight: Some(1), start: Start::Beginning, ..pool() };
    let mut session = subscribe(&gateway, one).await;
    let first = next(&mut session).await;
    quiet(&mut session, Duration::from_secs(1)).await;
    let acking = gateway.clone();
    let mut acked = async move { ack(&acking, &first).await }.boxed();
    assert!(poll!(&mut acked).is_pending());
    (slow, gateway, session, acked)
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_does_not_hold_up_a_client_that_is_done() {
    let (slow, gateway, mut session, mut acked) = acks_slowly(false).await;
    let second = next(&mut session).await;
    assert_eq!(text(&second), "2", "before the first was answered");
    quiet(&mut session, Duration::from_secs(1)).await;
    assert!(poll!(&mut acked).is_pending());
    slow.answers.add_permits(2);
    assert_eq!(acked.await, AckStatus::Acked);
    quiet(&mut session, Duration::from_secs(1)).await;
    assert_eq!(ack(&gateway, &second).await, AckStatus::Acked);
    assert_eq!(next_text(&mut session).await, "3");
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_fails_takes_its_room_again() {
    let (slow, gateway, mut session, acked) = acks_slowly(true).await;
    slow.answers.add_permits(1);
    assert_eq!(acked.await, AckStatus::Unavailable);
    quiet(&mut session, Duration::from_secs(1)).await;
    assert_eq!(gateway.stats().in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_comes_back_at_its_time_and_not_before() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, SubscribeRequest { max_in_flight: Some(1), ..pool() }).await;
    publish(&gateway, "e", "x").await;
    let first = next(&mut session).await;
    session.handed_off();
    quiet(&mut session, ACK_WAIT - Duration::from_millis(1)).await;
    let again = next(&mut session).await;
    assert_eq!((again.attempt, text(&again)), (2, "x".into()));
    assert_eq!(ack(&gateway, &first).await, AckStatus::Stale, "an earlier epoch");
    assert_eq!(ack(&gateway, &again).await, AckStatus::Acked);
}

/// 100 messages wait while each takes 50 ms with a lease of 1 s: a clock that ran while they wait would bring them back.
#[tokio::test(start_paused = true)]
async fn the_lease_clock_does_not_run_while_messages_wait() {
    let gateway = gateway().await;
    for n in 0..100 {
        publish(&gateway, "e", &n.to_string()).await;
    }
    let request =
        SubscribeRequest { max_in_flight: Some(10), ack_wait: Some(Duration::from_secs(1)), ..pool() };
    let mut session = subscribe(&gateway, request).await;
    for n in 0..100 {
        let outbound = next(&mut session).await;
        assert_eq!((outbound.attempt, text(&outbound)), (1, n.to_string()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(ack(&gateway, &outbound).await, AckStatus::Acked);
    }
    assert_eq!(gateway.stats().redelivered, 0);
}

/// A socket that takes half the lease to accept a frame does not shorten the client's time.
#[tokio::test(start_paused = true)]
async fn a_slow_socket_does_not_eat_the_lease() {
    let gateway = gateway().await;
    let mut slow = subscribe(&gateway, pool()).await;
    let mut other = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    let outbound = next(&mut slow).await;
    tokio::time::sleep(ACK_WAIT * 9 / 10).await;
    slow.handed_off();
    quiet(&mut other, ACK_WAIT * 9 / 10).await;
    assert_eq!(ack(&gateway, &outbound).await, AckStatus::Acked);
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_gives_its_leases_back_at_once_and_counted() {
    let gateway = gateway().await;
    let mut gone = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    next(&mut gone).await;
    gone.handed_off();
    let mut other = subscribe(&gateway, pool()).await;
    drop(gone);
    let started = tokio::time::Instant::now();
    assert_eq!(next(&mut other).await.attempt, 2);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_handed_off_goes_back_uncounted() {
    let gateway = gateway().await;
    let mut gone = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    next(&mut gone).await;
    let mut other = subscribe(&gateway, pool()).await;
    drop(gone);
    assert_eq!(next(&mut other).await.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reconnects_can_ack_what_it_did() {
    let gateway = gateway().await;
    let mut gone = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    let outbound = next(&mut gone).await;
    gone.handed_off();
    drop(gone);
    assert_eq!(ack(&gateway, &outbound).await, AckStatus::Acked);
    let mut session = subscribe(&gateway, pool()).await;
    quiet(&mut session, 3 * ACK_WAIT).await;
}

#[tokio::test(start_paused = true)]
async fn a_nack_comes_back_after_its_delay_and_frees_the_window() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, SubscribeRequest { max_in_flight: Some(1), ..pool() }).await;
    publish(&gateway, "e", "a").await;
    publish(&gateway, "e", "b").await;
    let first = next(&mut session).await;
    let nack = Nack { delay: Some(Duration::from_secs(7)), error: Some("later".into()) };
    assert_eq!(settle(&gateway, &first, SettleAction::Nack(nack)).await, AckStatus::Nacked);
    let second = next(&mut session).await;
    assert_eq!(text(&second), "b");
    ack(&gateway, &second).await;
    quiet(&mut session, Duration::from_millis(6_900)).await;
    assert_eq!(next(&mut session).await.attempt, 2);
}

#[tokio::test(start_paused = true)]
async fn an_extension_keeps_the_lease() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    let outbound = next(&mut session).await;
    session.handed_off();
    tokio::time::sleep(ACK_WAIT / 2).await;
    assert_eq!(settle(&gateway, &outbound, SettleAction::Extend(4 * ACK_WAIT)).await, AckStatus::Extended);
    quiet(&mut session, 3 * ACK_WAIT).await;
    assert_eq!(ack(&gateway, &outbound).await, AckStatus::Acked);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_a_dead_letter_at_once() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    let outbound = next(&mut session).await;
    let reason = "makes no sense".to_owned();
    assert_eq!(settle(&gateway, &outbound, SettleAction::Reject { reason }).await, AckStatus::Rejected);
    let letters =
        SubscribeRequest { start: Start::Beginning, ..SubscribeRequest::broadcast(pattern("_dlq.e")) };
    let mut letters = subscribe(&gateway, letters).await;
    let letter = next(&mut letters).await;
    assert_eq!(text(&letter), "x");
    assert_eq!(letter.envelope.message.metadata["busgate-dlq-last-error"], "makes no sense");
    quiet(&mut session, 3 * ACK_WAIT).await;
}

#[tokio::test]
async fn another_principal_cannot_settle() {
    let gateway = gateway().await;
    let (a, b) = (Caller::principal("a"), Caller::principal("b"));
    let mut session = gateway.subscribe(&a, pool()).await.unwrap();
    publish(&gateway, "e", "x").await;
    let ack_id = next(&mut session).await.ack_id.unwrap();
    let entry = || vec![SettleRequest { ack_id: ack_id.clone(), action: SettleAction::Ack }];
    assert_eq!(gateway.settle(&b, entry()).await.unwrap()[0].status, AckStatus::NotOwner);
    assert_eq!(gateway.settle(&a, entry()).await.unwrap()[0].status, AckStatus::Acked);
}

#[tokio::test]
async fn all_invalid_entries_fail_as_a_whole_and_some_are_answered_each() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    let good = SettleRequest { ack_id: next(&mut session).await.ack_id.unwrap(), action: SettleAction::Ack };
    let bad = SettleRequest { ack_id: "forged".into(), action: SettleAction::Ack };
    let error = gateway.settle(&me(), vec![bad.clone(), bad.clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let answers = gateway.settle(&me(), vec![bad, good]).await.unwrap();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [AckStatus::Invalid, AckStatus::Acked]);
    assert!(gateway.settle(&me(), vec![]).await.unwrap().is_empty());
}

/// Two gateways with one secret over one transport are two nodes.
#[tokio::test(start_paused = true)]
async fn any_node_settles_what_another_delivered() {
    let transport = memory();
    let secret = AckSecret::new(&[7; 32]).unwrap();
    let node = || {
        let config = GatewayConfig { ack_secret: secret.clone(), ..config() };
        Gateway::new(Arc::clone(&transport), Arc::new(AllowAll), SystemClock::shared(), config)
    };
    let (one, other) = (node(), node());
    register(&one, "e").await;
    let mut session = subscribe(&one, pool()).await;
    publish(&other, "e", "x").await;
    let outbound = next(&mut session).await;
    session.handed_off();
    assert_eq!(ack(&other, &outbound).await, AckStatus::Acked);
    assert_eq!(ack(&one, &outbound).await, AckStatus::Stale);
    drop((session, one));
    let mut session = subscribe(&other, pool()).await;
    quiet(&mut session, 3 * ACK_WAIT).await;
}

#[tokio::test]
async fn an_ack_id_of_another_secret_is_invalid() {
    let transport = memory();
    let (one, other) = (gateway_over(Arc::clone(&transport), config()), gateway_over(transport, config()));
    register(&one, "e").await;
    let mut session = subscribe(&one, pool()).await;
    publish(&one, "e", "x").await;
    let entry = SettleRequest { ack_id: next(&mut session).await.ack_id.unwrap(), action: SettleAction::Ack };
    assert_eq!(other.settle(&me(), vec![entry]).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn automatic_acks_are_made_at_the_hand_off() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, SubscribeRequest { ack: AckMode::Auto, ..pool() }).await;
    publish(&gateway, "e", "seen").await;
    publish(&gateway, "e", "unseen").await;
    next(&mut session).await;
    session.handed_off();
    let unseen = session.try_next();
    assert!(unseen.is_some());
    drop(session);
    let mut other = subscribe(&gateway, pool()).await;
    let outbound = next(&mut other).await;
    assert_eq!((text(&outbound), outbound.attempt), ("unseen".into(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_named_consumer_goes_on_where_it_was() {
    let gateway = gateway().await;
    let named = || SubscribeRequest {
        start: Start::Beginning,
        ..SubscribeRequest::consumer(pattern("e"), ConsumerName::new("audit").unwrap())
    };
    for n in 0..4 {
        publish(&gateway, "e", &n.to_string()).await;
    }
    let mut session = subscribe(&gateway, named()).await;
    for _ in 0..2 {
        let outbound = next(&mut session).await;
        ack(&gateway, &outbound).await;
    }
    drop(session);
    let mut session = subscribe(&gateway, named()).await;
    assert_eq!(next_text(&mut session).await, "2");
    assert_eq!(next_text(&mut session).await, "3");
}

#[tokio::test]
async fn figures_out_of_bounds_settle_nothing() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    let outbound = next(&mut session).await;
    let ack_id = outbound.ack_id.clone().unwrap();
    let action = SettleAction::Extend(Duration::from_secs(1_000_000));
    let entry = SettleRequest { ack_id, action };
    let error = gateway.settle(&me(), vec![entry.clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(ack(&gateway, &outbound).await, AckStatus::Acked);
    publish(&gateway, "e", "y").await;
    let other = next(&mut session).await;
    let good = SettleRequest { ack_id: other.ack_id.unwrap(), action: SettleAction::Ack };
    let answers = gateway.settle(&me(), vec![entry, good]).await.unwrap();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [AckStatus::Invalid, AckStatus::Acked], "one bad figure costs no other entry");
}

#[tokio::test]
async fn an_ack_after_a_closed_broadcast_session_is_unknown() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, broadcast()).await;
    gateway.publish_one(&me(), &event("e"), draft("x")).await.unwrap();
    let outbound = next(&mut session).await;
    drop(session);
    assert_eq!(ack(&gateway, &outbound).await, AckStatus::Unknown);
}

#[tokio::test(start_paused = true)]
async fn leases_of_a_left_session_run_on_until_they_run_out() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    publish(&gateway, "e", "y").await;
    let (first, _) = (next(&mut session).await, next(&mut session).await);
    session.handed_off();
    session.leave();
    publish(&gateway, "e", "z").await;
    quiet(&mut session, Duration::from_millis(1)).await;
    drop(session);
    let mut other = subscribe(&gateway, pool()).await;
    assert_eq!(next_text(&mut other).await, "z");
    quiet(&mut other, ACK_WAIT / 2).await;
    assert_eq!(ack(&gateway, &first).await, AckStatus::Acked);
    let back = next(&mut other).await;
    assert_eq!((text(&back), back.attempt), ("y".into(), 2));
}

#[tokio::test(start_paused = true)]
async fn automatic_acks_have_nothing_to_keep_when_they_leave() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, SubscribeRequest { ack: AckMode::Auto, ..pool() }).await;
    publish(&gateway, "e", "x").await;
    next(&mut session).await;
    session.leave();
    drop(session);
    let mut other = subscribe(&gateway, pool()).await;
    let again = next(&mut other).await;
    assert_eq!((text(&again), again.attempt), ("x".into(), 1), "it was never handed off");
}

#[tokio::test(start_paused = true)]
async fn a_released_broadcast_comes_back_at_once() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, broadcast()).await;
    publish(&gateway, "e", "x").await;
    for (counted, attempt) in [(false, 1), (true, 1), (false, 2)] {
        let outbound = next(&mut session).await;
        assert_eq!(outbound.attempt, attempt);
        let released = settle(&gateway, &outbound, SettleAction::Release { counted }).await;
        assert_eq!(released, AckStatus::Released);
    }
    assert_eq!(gateway.stats().released, 3);
}
