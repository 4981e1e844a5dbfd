//! Settling: over the stream that a delivery came by, and past it.

use std::time::Duration;

use busgate_client::{GroupName, Item, Settled, Settlement, Start, SubscribeOptions, Transport, Verb};
use futures_util::StreamExt;

use crate::stage::{Staged, address, client, connected, gateway, orders, publish, soon};

#[tokio::test]
async fn what_the_stream_does_not_hold_any_more_is_the_transports_to_say() {
    let server = gateway(&Staged::new()).await;
    // No second try: it is no failure.
    let once = client(format!("http://{}", address(&server))).retry(
        1,
        Duration::from_millis(1),
        Duration::from_millis(1),
    );
    let once = soon(once.connect()).await.unwrap();
    let event = orders(&once).await;
    publish(&once, &event, "m").await.unwrap();
    let pool = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
    let mut messages = soon(once.clone().subscribe(&event, pool)).await.unwrap();
    let Some(Ok(Item::Delivery(delivery))) = soon(messages.next()).await else { panic!("no delivery") };
    let token = delivery.token().unwrap().clone();
    let elsewhere = connected(&server).await;
    let settled = soon(elsewhere.settle(vec![Settlement { token, verb: Verb::Ack }])).await.remove(0);
    assert_eq!(settled.unwrap(), Settled::Acked);
    assert_eq!(soon(delivery.ack()).await.unwrap(), Settled::Stale);
}
