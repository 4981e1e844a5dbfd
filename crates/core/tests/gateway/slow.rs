//! Subscribers that do not keep up: each policy, and nobody else is the worse for it.

use std::time::Duration;

use busgate_core::{AckMode, End, Gap, GatewayConfig, Outgoing, SlowPolicy, Start, SubscribeRequest};

use crate::stage::{
    broadcast, config, gateway_with, next, next_text, publish, quiet, subscribe, text, within,
};

fn slow(policy: SlowPolicy) -> SubscribeRequest {
    SubscribeRequest { ack: AckMode::Auto, slow: Some(policy), buffer: Some(4), ..broadcast() }
}

async fn behind(request: SubscribeRequest) -> (busgate_core::Gateway, busgate_core::Session) {
    let gateway = gateway_with(GatewayConfig { ring_messages: 8, ..config() }).await;
    let session = subscribe(&gateway, request).await;
    let mut keeping_up = subscribe(&gateway, SubscribeRequest { ack: AckMode::Auto, ..broadcast() }).await;
    for n in 0..20 {
        publish(&gateway, "e", &n.to_string()).await;
        assert_eq!(next_text(&mut keeping_up).await, n.to_string());
    }
    (gateway, session)
}

#[tokio::test]
async fn disconnect_ends_the_session() {
    let (gateway, mut session) = behind(slow(SlowPolicy::Disconnect)).await;
    assert!(matches!(within(session.next()).await, Outgoing::End(End::SlowConsumer)));
    assert_eq!(gateway.stats().slow_consumers, 1);
}

#[tokio::test]
async fn a_live_unnamed_subscriber_is_disconnected_by_default() {
    let (_gateway, mut session) = behind(SubscribeRequest { slow: None, ..slow(SlowPolicy::Pause) }).await;
    assert!(matches!(within(session.next()).await, Outgoing::End(End::SlowConsumer)));
}

#[tokio::test]
async fn pause_falls_behind_and_loses_nothing() {
    let (gateway, mut session) = behind(slow(SlowPolicy::Pause)).await;
    for n in 0..20 {
        assert_eq!(next_text(&mut session).await, n.to_string());
    }
    publish(&gateway, "e", "20").await;
    assert_eq!(next_text(&mut session).await, "20");
}

#[tokio::test]
async fn a_subscriber_with_history_pauses_by_default() {
    let request = SubscribeRequest { start: Start::Beginning, slow: None, ..slow(SlowPolicy::Pause) };
    let (_gateway, mut session) = behind(request).await;
    for n in 0..20 {
        assert_eq!(next_text(&mut session).await, n.to_string());
    }
}

#[tokio::test]
async fn drop_oldest_says_what_was_missed_and_where_it_goes_on() {
    let (gateway, mut session) = behind(slow(SlowPolicy::DropOldest)).await;
    let Outgoing::Gap(Gap { missed, cursor }) = within(session.next()).await else { panic!("a gap was due") };
    assert_eq!(missed, Some(16));
    for n in 16..20 {
        assert_eq!(next_text(&mut session).await, n.to_string());
    }
    let from_there = SubscribeRequest { start: Start::After(cursor.unwrap()), ..slow(SlowPolicy::Pause) };
    let mut resumed = subscribe(&gateway, from_there).await;
    assert_eq!(next_text(&mut resumed).await, "16");
}

#[tokio::test(start_paused = true)]
async fn conflation_leaves_only_the_newest_waiting() {
    let (gateway, mut session) = behind(slow(SlowPolicy::Conflate)).await;
    assert_eq!(next_text(&mut session).await, "19");
    publish(&gateway, "e", "20").await;
    assert_eq!(next_text(&mut session).await, "20");
    quiet(&mut session, Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn latest_only_delivers_the_newest_once_the_client_is_free() {
    let gateway = gateway_with(config()).await;
    let mut session = subscribe(&gateway, SubscribeRequest { latest_only: true, ..broadcast() }).await;
    publish(&gateway, "e", "0").await;
    let busy_with = next(&mut session).await;
    for n in 1..50 {
        publish(&gateway, "e", &n.to_string()).await;
    }
    quiet(&mut session, Duration::from_secs(1)).await;
    crate::stage::ack(&gateway, &busy_with).await;
    assert_eq!(text(&next(&mut session).await), "49");
}

#[tokio::test(start_paused = true)]
async fn latest_only_from_the_beginning_starts_with_the_newest_held() {
    let gateway = gateway_with(config()).await;
    for n in 0..600 {
        publish(&gateway, "e", &n.to_string()).await;
    }
    let request =
        SubscribeRequest { latest_only: true, start: Start::Beginning, ack: AckMode::Auto, ..broadcast() };
    let mut session = subscribe(&gateway, request).await;
    assert_eq!(next_text(&mut session).await, "599");
    quiet(&mut session, Duration::from_secs(1)).await;
}

/// However little the ring holds: being busy with history is not being slow.
#[tokio::test]
async fn one_that_replays_is_not_slow() {
    let gateway = gateway_with(GatewayConfig { ring_messages: 2, ..config() }).await;
    for n in 0..300 {
        publish(&gateway, "e", &n.to_string()).await;
    }
    let request = SubscribeRequest { start: Start::Beginning, ..slow(SlowPolicy::Disconnect) };
    let mut session = subscribe(&gateway, request).await;
    for n in 0..300 {
        if n == 100 {
            for more in 300..310 {
                publish(&gateway, "e", &more.to_string()).await;
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(next_text(&mut session).await, n.to_string());
    }
    for n in 300..310 {
        assert_eq!(next_text(&mut session).await, n.to_string());
    }
}
