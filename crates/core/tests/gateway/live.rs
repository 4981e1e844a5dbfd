//! Broadcast: live, from history, and the switch between the two.

use std::time::Duration;

use busgate_core::{
    AckMode, Draft, End, ErrorKind, GatewayConfig, MessageId, Outgoing, Start, SubscribeRequest,
};
use proptest::prelude::*;

use crate::stage::{
    ack, broadcast, config, event, gateway, gateway_over, gateway_with, me, memory, next, next_text, pool,
    publish, quiet, register, settle, subscribe, text, within,
};

fn auto(start: Start) -> SubscribeRequest {
    SubscribeRequest { ack: AckMode::Auto, start, ..broadcast() }
}

#[tokio::test]
async fn a_live_subscriber_gets_nothing_from_before() {
    let gateway = gateway().await;
    let _other = subscribe(&gateway, auto(Start::Latest)).await;
    publish(&gateway, "e", "before").await;
    let mut session = subscribe(&gateway, auto(Start::Latest)).await;
    publish(&gateway, "e", "after").await;
    assert_eq!(next_text(&mut session).await, "after");
}

#[tokio::test]
async fn everyone_gets_everything_and_shares_it() {
    let gateway = gateway().await;
    let mut one = subscribe(&gateway, auto(Start::Latest)).await;
    let mut other = subscribe(&gateway, auto(Start::Latest)).await;
    publish(&gateway, "e", "x").await;
    let (a, b) = (next(&mut one).await, next(&mut other).await);
    assert!(std::sync::Arc::ptr_eq(&a.envelope, &b.envelope));
    assert_eq!(gateway.stats().channels, 1, "the event is read once for both");
}

#[tokio::test]
async fn a_cursor_resumes_strictly_after_it() {
    let gateway = gateway().await;
    let mut cursors = Vec::new();
    for n in 0..5 {
        cursors.push(publish(&gateway, "e", &n.to_string()).await.cursor.unwrap());
    }
    let mut session = subscribe(&gateway, auto(Start::After(cursors[2].clone()))).await;
    assert_eq!(next_text(&mut session).await, "3");
    assert_eq!(next_text(&mut session).await, "4");
    publish(&gateway, "e", "5").await;
    assert_eq!(next_text(&mut session).await, "5");
}

#[tokio::test(start_paused = true)]
async fn an_unregistered_event_ends_its_sessions_as_closed() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, auto(Start::Latest)).await;
    gateway.unregister(&me(), &event("e")).await.unwrap();
    assert!(matches!(within(session.next()).await, Outgoing::End(End::Closed)));
    assert!(matches!(within(session.next()).await, Outgoing::End(End::Closed)), "and stays so");
}

#[tokio::test(start_paused = true)]
async fn a_back_end_that_stays_lost_ends_its_sessions_as_unavailable() {
    let transport = memory();
    let gateway = gateway_over(std::sync::Arc::clone(&transport), config());
    register(&gateway, "e").await;
    publish(&gateway, "e", "x").await;
    let mut follower = subscribe(&gateway, auto(Start::Beginning)).await;
    let mut worker = subscribe(&gateway, SubscribeRequest { start: Start::Beginning, ..pool() }).await;
    assert_eq!((next_text(&mut follower).await, next_text(&mut worker).await), ("x".into(), "x".into()));
    transport.close().await.unwrap();
    for session in [&mut worker, &mut follower] {
        let end = within(session.next()).await;
        assert!(
            matches!(&end, Outgoing::End(End::Failed(error)) if error.kind() == ErrorKind::Unavailable),
            "{end:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_ends_with_its_last_follower() {
    let gateway = gateway().await;
    let session = subscribe(&gateway, auto(Start::Latest)).await;
    drop(session);
    assert_eq!(gateway.stats().channels, 0);
    let mut session = subscribe(&gateway, auto(Start::Latest)).await;
    publish(&gateway, "e", "x").await;
    assert_eq!(next_text(&mut session).await, "x");
}

#[tokio::test(start_paused = true)]
async fn messages_over_max_age_are_left_out() {
    let gateway = gateway().await;
    publish(&gateway, "e", "old").await;
    tokio::time::advance(Duration::from_secs(60)).await;
    publish(&gateway, "e", "young").await;
    let max_age = Some(Duration::from_secs(30));
    let mut session = subscribe(&gateway, SubscribeRequest { max_age, ..auto(Start::Beginning) }).await;
    assert_eq!(next_text(&mut session).await, "young");
    assert_eq!(gateway.stats().too_old, 1);
}

#[tokio::test(start_paused = true)]
async fn a_nacked_broadcast_message_comes_back_to_its_subscriber_only() {
    let gateway = gateway().await;
    let mut one = subscribe(&gateway, broadcast()).await;
    let mut other = subscribe(&gateway, broadcast()).await;
    publish(&gateway, "e", "x").await;
    let first = next(&mut one).await;
    ack(&gateway, &next(&mut other).await).await;
    let delay = Some(Duration::from_secs(3));
    settle(&gateway, &first, busgate_core::SettleAction::Nack(busgate_core::Nack { delay, error: None }))
        .await;
    quiet(&mut one, Duration::from_millis(2_900)).await;
    let again = next(&mut one).await;
    assert_eq!((text(&again), again.attempt), ("x".into(), 2));
    quiet(&mut other, Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_nack_from_another_door_wakes_a_subscriber_that_waits() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, broadcast()).await;
    publish(&gateway, "e", "x").await;
    let first = next(&mut session).await;
    let delay = Some(Duration::from_secs(3));
    let nack = busgate_core::SettleAction::Nack(busgate_core::Nack { delay, error: None });
    let elsewhere = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        settle(&gateway, &first, nack).await
    };
    let waits = tokio::time::timeout(Duration::from_millis(4_100), session.next());
    let (again, _) = tokio::join!(waits, elsewhere);
    assert!(matches!(again, Ok(busgate_core::Outgoing::Message(again)) if again.attempt == 2));
}

#[tokio::test(start_paused = true)]
async fn a_lease_shortened_from_another_door_runs_out_on_time() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, broadcast()).await;
    publish(&gateway, "e", "x").await;
    let first = next(&mut session).await;
    let elsewhere = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        settle(&gateway, &first, busgate_core::SettleAction::Extend(Duration::from_secs(2))).await
    };
    let waits = tokio::time::timeout(Duration::from_millis(3_100), session.next());
    let (again, _) = tokio::join!(waits, elsewhere);
    assert!(matches!(again, Ok(busgate_core::Outgoing::Message(again)) if again.attempt == 2));
}

#[tokio::test(start_paused = true)]
async fn a_full_window_pauses_delivery_until_an_ack() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, SubscribeRequest { max_in_flight: Some(2), ..broadcast() }).await;
    for n in 0..3 {
        publish(&gateway, "e", &n.to_string()).await;
    }
    let first = next(&mut session).await;
    next(&mut session).await;
    quiet(&mut session, Duration::from_secs(1)).await;
    ack(&gateway, &first).await;
    assert_eq!(next_text(&mut session).await, "2");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The classic race: what is published while a subscriber switches from history to live is neither lost nor doubled.
    #[test]
    fn replay_meets_live_without_hole_or_duplicate(
        before in 0usize..600,
        during in 0usize..80,
        after in 0usize..40,
        ring in 1usize..24,
        from in 0usize..600,
        yields in proptest::collection::vec(0usize..4, 80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let gateway = gateway_with(GatewayConfig { ring_messages: ring, ..config() }).await;
            let mut cursors = Vec::new();
            for n in 0..before {
                cursors.push(publish(&gateway, "e", &n.to_string()).await.cursor.unwrap());
            }
            let start = cursors.get(from).cloned().map_or(Start::Beginning, Start::After);
            let first = if from < before { from + 1 } else { 0 };
            let publisher = async {
                for (n, yields) in yields.iter().enumerate().take(during) {
                    publish(&gateway, "e", &(before + n).to_string()).await;
                    for _ in 0..*yields {
                        tokio::task::yield_now().await;
                    }
                }
            };
            let subscriber = async {
                let mut session = subscribe(&gateway, auto(start)).await;
                for n in first..before + during {
                    assert_eq!(next_text(&mut session).await, n.to_string());
                }
                session
            };
            let ((), mut session) = tokio::join!(publisher, subscriber);
            for n in 0..after {
                publish(&gateway, "e", &(before + during + n).to_string()).await;
            }
            for n in 0..after {
                assert_eq!(next_text(&mut session).await, (before + during + n).to_string());
            }
            quiet(&mut session, Duration::from_secs(1)).await;
        });
    }
}

#[tokio::test]
async fn a_dropped_next_loses_nothing() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, auto(Start::Latest)).await;
    for n in 0..100 {
        let id = Some(MessageId::new(n.to_string()).unwrap());
        gateway.publish_one(&me(), &event("e"), Draft { id, ..Draft::default() }).await.unwrap();
        let dropped = tokio::time::timeout(Duration::ZERO, session.next()).await;
        let outgoing = match dropped {
            Ok(outgoing) => outgoing,
            Err(_) => within(session.next()).await,
        };
        let Outgoing::Message(outbound) = outgoing else { panic!("{outgoing:?}") };
        assert_eq!(outbound.envelope.message.id.as_str(), n.to_string());
    }
}
