//! Settling: by whom, once, and what comes of it.

use busgate_core::ErrorKind;
use busgate_wire::proto::event::v1::{AckEntry, AckRequest, AckStatus, Release, SubscribeRequest};
use tonic::Code;

use crate::gateway::{
    CLERK, Gateway, KEYS, SHOP, ack_of, all_of, by, draft, failure, millis, next, publish, settle, soon,
    subscribe, text, worker,
};

#[tokio::test]
async fn acked_once_is_stale_afterwards() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    let message = next(&mut subscribe(&mut client, worker("orders")).await).await;
    // The stream is gone, its lease with it: the one that has the message now may settle it.
    let mut stream = subscribe(&mut client, worker("orders")).await;
    let again = next(&mut stream).await;
    assert_eq!((&again.id, again.retry_count), (&message.id, 1));
    assert_eq!(settle(&mut client, vec![ack_of(&again)]).await, [AckStatus::Acked]);
    assert_eq!(settle(&mut client, vec![ack_of(&again)]).await, [AckStatus::Stale]);
    assert_eq!(settle(&mut client, vec![ack_of(&message)]).await, [AckStatus::Stale]);
}

#[tokio::test]
async fn nacked_comes_back_counted_and_the_earlier_lease_is_stale() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "again").await;
    let mut stream = subscribe(&mut client, worker("orders")).await;
    let first = next(&mut stream).await;
    let nack = AckEntry { error: "not today".into(), retry_after: millis(20), ..ack_of(&first) };
    assert_eq!(settle(&mut client, vec![nack]).await, [AckStatus::Nacked]);
    let second = next(&mut stream).await;
    assert_eq!((second.id.as_str(), second.retry_count), (first.id.as_str(), 1));
    assert_eq!(
        settle(&mut client, vec![ack_of(&first), ack_of(&second)]).await,
        [AckStatus::Stale, AckStatus::Acked]
    );
}

#[tokio::test]
async fn a_lease_that_runs_out_brings_the_message_back() {
    let gateway = Gateway::configured("delivery.backoff = [\"10ms\"]").await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    let request = SubscribeRequest { ack_wait: millis(50), ..worker("orders") };
    let mut stream = subscribe(&mut client, request).await;
    let (first, second) = (next(&mut stream).await, next(&mut stream).await);
    assert_eq!((second.id, second.retry_count), (first.id, 1));
}

#[tokio::test]
async fn broadcast_without_a_name_is_redelivered_too() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    let request = SubscribeRequest { ack_wait: millis(50), ..all_of("orders") };
    let mut stream = subscribe(&mut client, request).await;
    let first = next(&mut stream).await;
    let nack = AckEntry { error: "no".into(), retry_after: millis(10), ..ack_of(&first) };
    assert_eq!(settle(&mut client, vec![nack]).await, [AckStatus::Nacked]);
    assert_eq!(next(&mut stream).await.retry_count, 1);
    // And once more when nothing is said at all.
    let third = next(&mut stream).await;
    assert_eq!((third.id.as_str(), third.retry_count), (first.id.as_str(), 2));
    assert_eq!(settle(&mut client, vec![ack_of(&third)]).await, [AckStatus::Acked]);
}

#[tokio::test]
async fn extended_runs_on() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    let request = SubscribeRequest { ack_wait: millis(150), ..worker("orders") };
    let mut stream = subscribe(&mut client, request).await;
    let message = next(&mut stream).await;
    let extend = AckEntry { extend: millis(10_000), ..ack_of(&message) };
    assert_eq!(settle(&mut client, vec![extend]).await, [AckStatus::Extended]);
    let nothing = tokio::time::timeout(std::time::Duration::from_millis(400), stream.message()).await;
    assert!(nothing.is_err(), "it came back");
    assert_eq!(settle(&mut client, vec![ack_of(&message)]).await, [AckStatus::Acked]);
}

#[tokio::test]
async fn rejected_is_a_dead_letter_with_its_story() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "poison").await;
    let mut stream = subscribe(&mut client, worker("orders")).await;
    let message = next(&mut stream).await;
    let reject = AckEntry { error: "cannot parse".into(), terminate: true, ..ack_of(&message) };
    assert_eq!(settle(&mut client, vec![reject]).await, [AckStatus::Rejected]);
    let dead = next(&mut subscribe(&mut client, all_of("_dlq.orders")).await).await;
    assert_eq!(text(&dead), "poison");
    assert!(dead.metadata.values().any(|value| value.contains("cannot parse")), "{:?}", dead.metadata);
}

#[tokio::test]
async fn only_the_principal_that_received_it_settles_it() {
    let gateway = Gateway::configured(KEYS).await;
    let mut client = gateway.client().await;
    gateway.register("orders").await;
    client.publish(by(SHOP, draft("orders", "x"))).await.unwrap();
    let mut stream = client.subscribe(by(CLERK, worker("orders"))).await.unwrap().into_inner();
    let message = next(&mut stream).await;
    let ack = || AckRequest { entries: vec![ack_of(&message)] };
    let foreign = client.ack(by(SHOP, ack())).await.unwrap().into_inner();
    assert_eq!(foreign.results[0].status(), AckStatus::NotOwner);
    assert_eq!(foreign.results[0].ack_id, message.ack_id);
    let own = client.ack(by(CLERK, ack())).await.unwrap().into_inner();
    assert_eq!(own.results[0].status(), AckStatus::Acked);
    assert_eq!(failure(client.ack(ack()).await), (Code::Unauthenticated, ErrorKind::Unauthenticated));
}

#[tokio::test]
async fn a_forged_ack_id_is_told_apart_and_alone_is_refused() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    let mut stream = subscribe(&mut client, worker("orders")).await;
    let message = next(&mut stream).await;
    let mut forged = message.ack_id.clone().into_bytes();
    let last = forged.last_mut().unwrap();
    *last = if *last == b'A' { b'B' } else { b'A' };
    let forged = AckEntry { ack_id: String::from_utf8(forged).unwrap(), ..AckEntry::default() };
    let alone = client.ack(AckRequest { entries: vec![forged.clone(), AckEntry::default()] }).await;
    assert_eq!(failure(alone), (Code::InvalidArgument, ErrorKind::Invalid));
    assert_eq!(
        settle(&mut client, vec![forged, ack_of(&message)]).await,
        [AckStatus::Invalid, AckStatus::Acked]
    );
}

#[tokio::test]
async fn a_dropped_stream_hands_its_leases_back() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "orphan").await;
    let mut holder = subscribe(&mut client, worker("orders")).await;
    let mut heir = subscribe(&mut client, worker("orders")).await;
    let first = soon(async {
        tokio::select! {
            message = holder.message() => { drop(holder); (message, heir) }
            message = heir.message() => { drop(heir); (message, holder) }
        }
    });
    let (first, mut other) = first.await;
    let id = first.unwrap().unwrap().into_fields().unwrap().id;
    // Long before its lease of 30 s is over.
    assert_eq!(next(&mut other).await.id, id);
}

#[tokio::test]
async fn a_release_uncounted_counts_no_attempt() {
    // By the schedule it would not come back while the test runs.
    let gateway = Gateway::configured("delivery.backoff = [\"1h\"]").await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    let mut stream = subscribe(&mut client, worker("orders")).await;
    for (release, retries) in [(Release::Uncounted, 0), (Release::Counted, 1), (Release::Uncounted, 1)] {
        let message = next(&mut stream).await;
        let entry = AckEntry { release: release.into(), ..ack_of(&message) };
        assert_eq!(settle(&mut client, vec![entry]).await, [AckStatus::Released]);
        // Nobody is told twice: a look at the next one takes it from the stream.
        let again = next(&mut stream).await;
        assert_eq!((&again.id, again.retry_count), (&message.id, retries), "{release:?}");
        let entry = AckEntry { release: Release::Uncounted.into(), ..ack_of(&again) };
        assert_eq!(settle(&mut client, vec![entry]).await, [AckStatus::Released]);
    }
    let last = next(&mut stream).await;
    assert_eq!(settle(&mut client, vec![ack_of(&last)]).await, [AckStatus::Acked]);
}

#[tokio::test]
async fn backoff_of_the_subscription_is_kept() {
    let gateway = Gateway::configured("delivery.backoff = [\"1h\"]").await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    let backoff = vec![millis(10).unwrap(), millis(20).unwrap()];
    let mut stream = subscribe(&mut client, SubscribeRequest { backoff, ..worker("orders") }).await;
    for retries in 0..3 {
        let message = next(&mut stream).await;
        assert_eq!(message.retry_count, retries);
        let nack = AckEntry { error: "again".into(), ..ack_of(&message) };
        assert_eq!(settle(&mut client, vec![nack]).await, [AckStatus::Nacked]);
    }
    let endless = SubscribeRequest { backoff: vec![millis(1).unwrap(); 33], ..worker("orders") };
    assert_eq!(failure(client.subscribe(endless).await), (Code::InvalidArgument, ErrorKind::Invalid));
}
