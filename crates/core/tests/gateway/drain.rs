//! Going away: nothing in flight is lost, and nothing is counted against it.

use std::time::Duration;

use busgate_core::{AckMode, AckStatus, End, ErrorKind, Outgoing, SubscribeRequest};

use crate::stage::{
    ACK_WAIT, ack, broadcast, config, draft, event, gateway, gateway_over, me, memory, next, pool, publish,
    register, subscribe, within,
};

const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_draining_gateway_takes_nothing_in() {
    let gateway = gateway().await;
    gateway.drain(DEADLINE).await;
    let publish = gateway.publish_one(&me(), &event("e"), draft("x")).await.unwrap_err();
    assert_eq!(publish.kind(), ErrorKind::Unavailable);
    assert!(publish.retry_after().is_some());
    assert_eq!(gateway.subscribe(&me(), pool()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(gateway.is_draining());
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_and_may_finish() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "a").await;
    publish(&gateway, "e", "b").await;
    let held = next(&mut session).await;
    session.handed_off();
    let (_, ()) = tokio::join!(gateway.drain(DEADLINE), async {
        let Outgoing::Draining { retry_after } = within(session.next()).await else {
            panic!("draining was due")
        };
        assert!(retry_after > Duration::ZERO);
        assert_eq!(ack(&gateway, &held).await, AckStatus::Acked, "acks are taken while draining");
        assert!(
            matches!(within(session.next()).await, Outgoing::End(End::Drained { .. })),
            "and nothing more is delivered"
        );
        drop(session);
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_not_settled_in_time_goes_back_uncounted() {
    let transport = memory();
    let old = gateway_over(transport.clone(), config());
    register(&old, "e").await;
    let mut session = subscribe(&old, pool()).await;
    publish(&old, "e", "x").await;
    next(&mut session).await;
    session.handed_off();
    let drained = async {
        while !matches!(within(session.next()).await, Outgoing::End(_)) {}
        drop(session);
    };
    let started = tokio::time::Instant::now();
    tokio::join!(old.drain(DEADLINE), drained);
    assert!(started.elapsed() >= DEADLINE);
    let young = gateway_over(transport, config());
    let mut session = subscribe(&young, pool()).await;
    assert_eq!(next(&mut session).await.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_holds_nothing_ends_at_once() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, SubscribeRequest { ack: AckMode::Auto, ..broadcast() }).await;
    let started = tokio::time::Instant::now();
    let finish = async {
        while !matches!(within(session.next()).await, Outgoing::End(End::Drained { .. })) {}
        drop(session);
    };
    tokio::join!(gateway.drain(DEADLINE), finish);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn closing_ends_everything_and_may_be_done_twice() {
    let gateway = gateway().await;
    gateway.close().await.unwrap();
    gateway.close().await.unwrap();
    assert!(gateway.events(&me()).await.is_err());
}

/// What comes back anyway, for its lease ran out, is nobody's to settle any more.
#[tokio::test(start_paused = true)]
async fn a_holder_whose_lease_ran_out_holds_up_no_drain() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, pool()).await;
    publish(&gateway, "e", "x").await;
    next(&mut session).await;
    session.handed_off();
    let started = tokio::time::Instant::now();
    let ended = async {
        while !matches!(within(session.next()).await, Outgoing::End(End::Drained { .. })) {}
        drop(session);
    };
    tokio::join!(gateway.drain(ACK_WAIT * 3), ended);
    let took = started.elapsed();
    assert!(took >= ACK_WAIT && took < ACK_WAIT + Duration::from_secs(1), "{took:?}");
}
