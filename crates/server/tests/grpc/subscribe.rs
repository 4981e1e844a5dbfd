//! Subscribing: who gets what, from where, and within which window.

use std::{collections::BTreeSet, time::Duration};

use busgate_core::ErrorKind;
use busgate_wire::proto::event::v1::{
    AckMode, AckStatus, DeliveryMode, SlowPolicy, StartPosition, SubscribeRequest, UnregisterEventRequest,
};
use tonic::Code;

use crate::gateway::{
    Gateway, ack_of, all_of, error, failure, next, payloads, publish, settle, soon, subscribe, text, told,
    until, worker,
};

#[tokio::test]
async fn a_group_shares_and_broadcast_repeats() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let mut sent = BTreeSet::new();
    for n in 0..20 {
        sent.insert(publish(&mut client, "orders", &n.to_string()).await.id);
    }
    let member = || SubscribeRequest { max_in_flight: 1, ..worker("orders") };
    let mut members = [subscribe(&mut client, member()).await, subscribe(&mut client, member()).await];
    let mut seen = Vec::new();
    while seen.len() < sent.len() {
        let (a, b) = members.split_at_mut(1);
        let message = soon(async {
            tokio::select! { m = next(&mut a[0]) => m, m = next(&mut b[0]) => m }
        })
        .await;
        settle(&mut client, vec![ack_of(&message)]).await;
        seen.push(message.id);
    }
    assert_eq!(seen.len(), sent.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), sent);
    for _ in 0..2 {
        let mut stream = subscribe(&mut client, all_of("orders")).await;
        assert_eq!(payloads(&mut stream, 20).await, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_cursor_resumes_strictly_after_and_goes_on_live() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let mut cursors = Vec::new();
    for n in 0..5 {
        cursors.push(publish(&mut client, "orders", &n.to_string()).await.cursor);
    }
    let request = SubscribeRequest { start_after: cursors[1].clone(), ..all_of("orders") };
    let mut stream = subscribe(&mut client, request).await;
    assert_eq!(payloads(&mut stream, 3).await, ["2", "3", "4"]);
    publish(&mut client, "orders", "5").await;
    assert_eq!(payloads(&mut stream, 1).await, ["5"]);
}

#[tokio::test]
async fn a_named_consumer_goes_on_where_it_was() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "1").await;
    publish(&mut client, "orders", "2").await;
    let request = || SubscribeRequest { consumer_id: "dashboard".into(), ..all_of("orders") };
    let mut stream = subscribe(&mut client, request()).await;
    let first = next(&mut stream).await;
    settle(&mut client, vec![ack_of(&first)]).await;
    drop(stream);
    let mut stream = subscribe(&mut client, request()).await;
    assert_eq!(text(&next(&mut stream).await), "2");
}

#[tokio::test]
async fn a_pattern_names_the_event_of_each_message() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders.created").await;
    crate::gateway::register(&mut client, "orders.paid").await;
    let request = SubscribeRequest { start_from: StartPosition::Latest.into(), ..all_of("orders.*") };
    let mut stream = subscribe(&mut client, request).await;
    for event in ["orders.created", "orders.paid"] {
        publish(&mut client, event, "x").await;
        assert_eq!(next(&mut stream).await.event, event);
    }
}

#[tokio::test]
async fn an_automatic_ack_leaves_nothing_to_settle() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "1").await;
    let request = || SubscribeRequest { ack_mode: AckMode::Auto.into(), ..worker("orders") };
    let mut stream = subscribe(&mut client, request()).await;
    assert_eq!(next(&mut stream).await.ack_id, "");
    until(|| gateway.gateway().stats().acked == 1).await;
    drop(stream);
    publish(&mut client, "orders", "2").await;
    assert_eq!(text(&next(&mut subscribe(&mut client, request()).await).await), "2");
}

#[tokio::test]
async fn the_window_bounds_what_is_unsettled() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    for n in 0..4 {
        publish(&mut client, "orders", &n.to_string()).await;
    }
    let request = SubscribeRequest { max_in_flight: 2, ..worker("orders") };
    let mut stream = subscribe(&mut client, request).await;
    let first = next(&mut stream).await;
    next(&mut stream).await;
    let third = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
    assert!(third.is_err(), "the window did not hold");
    settle(&mut client, vec![ack_of(&first)]).await;
    assert_eq!(text(&next(&mut stream).await), "2");
}

#[tokio::test]
async fn unregistering_ends_with_ok_and_says_why() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let mut streams =
        [subscribe(&mut client, all_of("orders")).await, subscribe(&mut client, worker("orders")).await];
    client.unregister_event(UnregisterEventRequest { name: "orders".into() }).await.unwrap();
    for stream in &mut streams {
        assert!(soon(stream.message()).await.expect("OK").is_none());
        let trailers = stream.trailers().await.unwrap().expect("trailers");
        assert_eq!(trailers.get("busgate-error-kind").unwrap(), "closed");
    }
}

#[tokio::test]
async fn a_slow_consumer_is_unavailable_and_resumes_after_its_cursor() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let request = SubscribeRequest {
        start_from: StartPosition::Latest.into(),
        slow_policy: SlowPolicy::Disconnect.into(),
        buffer_size: 4,
        max_in_flight: 1,
        ..all_of("orders")
    };
    let mut stream = subscribe(&mut client, request).await;
    for n in 0..40 {
        publish(&mut client, "orders", &n.to_string()).await;
    }
    let first = next(&mut stream).await;
    settle(&mut client, vec![ack_of(&first)]).await;
    let mut last = first.cursor;
    let end = loop {
        match soon(stream.message()).await {
            Ok(message) => {
                let message = message.expect("an error, as the end").into_fields().unwrap();
                settle(&mut client, vec![ack_of(&message)]).await;
                last = message.cursor;
            }
            Err(end) => break end,
        }
    };
    assert_eq!(told(&end), (Code::Unavailable, ErrorKind::Unavailable));
    assert!(error::<()>(Err(end)).retry_after().is_some());
    let request = SubscribeRequest { start_after: last, ..all_of("orders") };
    let mut rest = subscribe(&mut client, request).await;
    while text(&next(&mut rest).await) != "39" {}
}

#[tokio::test]
async fn what_retention_took_is_told_with_the_next_message() {
    let gateway = Gateway::configured("retention.messages = 3").await;
    let mut client = gateway.with_event("orders").await;
    let first = publish(&mut client, "orders", "0").await.cursor;
    for n in 1..10 {
        publish(&mut client, "orders", &n.to_string()).await;
    }
    let request = SubscribeRequest { start_after: first, ..all_of("orders") };
    let message = next(&mut subscribe(&mut client, request).await).await;
    assert_eq!(text(&message), "7");
    assert_eq!(message.gap.expect("a gap").missed, Some(6));
}

#[tokio::test]
async fn what_makes_no_sense_or_comes_later_is_refused_before_the_stream() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let invalid = (Code::InvalidArgument, ErrorKind::Invalid);
    let unsupported = (Code::Unimplemented, ErrorKind::Unsupported);
    for (request, expected) in [
        (all_of("not a name"), invalid),
        (SubscribeRequest { start_after: "née".into(), ..all_of("orders") }, invalid),
        (SubscribeRequest { delivery_mode: 77, ..all_of("orders") }, invalid),
        (SubscribeRequest { ack_wait: millis_less_than_zero(), ..worker("orders") }, invalid),
        (SubscribeRequest { start_from: StartPosition::Timestamp.into(), ..all_of("orders") }, invalid),
        (SubscribeRequest { max_in_flight: u32::MAX, ..worker("orders") }, invalid),
        (SubscribeRequest { filter: "x = 1".into(), ..all_of("orders") }, unsupported),
        (all_of("nobody.knows"), (Code::NotFound, ErrorKind::NotFound)),
        (
            SubscribeRequest { delivery_mode: DeliveryMode::WorkerPool.into(), ..all_of("nobody.knows") },
            (Code::NotFound, ErrorKind::NotFound),
        ),
    ] {
        assert_eq!(failure(client.subscribe(request.clone()).await), expected, "{request:?}");
    }
}

fn millis_less_than_zero() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: -1, nanos: 0 })
}

/// More than a connection takes without being read.
async fn large_messages(client: &mut crate::gateway::Client) {
    let large = "x".repeat(1024 * 1024);
    for _ in 0..12 {
        publish(client, "orders", &large).await;
    }
}

#[tokio::test]
async fn what_waits_for_the_socket_keeps_its_lease() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    large_messages(&mut client).await;
    let request = SubscribeRequest { ack_wait: crate::gateway::millis(250), ..worker("orders") };
    let mut stream = subscribe(&mut client, request).await;
    let mut fresh = BTreeSet::new();
    fresh.insert(next(&mut stream).await.id);
    // The client is busy for longer than its lease.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut acked = 0;
    while fresh.len() < 12 {
        let message = next(&mut stream).await;
        let settled = settle(&mut client, vec![ack_of(&message)]).await;
        acked += usize::from(message.retry_count == 0 && settled == [AckStatus::Acked]);
        fresh.insert(message.id);
    }
    assert!(acked >= 5, "only {acked} of 12 were still leased when they came");
}

#[tokio::test]
async fn an_automatic_ack_waits_for_the_socket() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    large_messages(&mut client).await;
    let request = SubscribeRequest { ack_mode: AckMode::Auto.into(), ..worker("orders") };
    let mut stream = subscribe(&mut client, request).await;
    next(&mut stream).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(gateway.gateway().stats().acked < 12, "acked what the client can't have");
    for _ in 1..12 {
        next(&mut stream).await;
    }
    until(|| gateway.gateway().stats().acked == 12).await;
}
