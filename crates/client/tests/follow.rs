//! What a gateway offers beside the transport: patterns, and deliveries by their ack ids.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{path::Path, sync::Arc, time::Duration};

use busgate::{Config, Server, Sources};
use busgate_client::{
    AckMode, AckStatus, EventConfig, EventName, Followed, Following, Gap, GroupName, Message, MessageId,
    Pattern, Received, RemoteTransport, SettleAction, SettleRequest, Start, SubscribeRequest, Transport,
};
use futures_util::StreamExt;

/// How long anything may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

async fn gateway(grpc: &str, directory: &Path) -> Server {
    let text = format!("http = \"127.0.0.1:0\"\ngrpc = \"{grpc}\"\ndata_dir = {directory:?}");
    let sources = Sources { file: Some(("test.toml".into(), text)), ..Sources::none() };
    let builder = Server::builder().config(Config::read(&sources).unwrap());
    builder.start().await.unwrap()
}

async fn client(gateway: &Server) -> Arc<RemoteTransport> {
    RemoteTransport::connect(format!("http://{}", gateway.addresses().grpc.unwrap())).await.unwrap()
}

fn event(name: &str) -> EventName {
    EventName::new(name).unwrap()
}

async fn publish(client: &RemoteTransport, name: &str, payload: &str) {
    let message = Message::new(MessageId::generate(), payload.to_owned());
    let receipt = client.publish(&event(name), vec![message]).await.pop().unwrap();
    receipt.unwrap();
}

async fn followed(following: &mut Following) -> Followed {
    soon(following.next()).await.expect("no end").expect("no error")
}

async fn received(following: &mut Following) -> Box<Received> {
    match followed(following).await {
        Followed::Message(received) => received,
        Followed::Gap(gap) => panic!("{gap:?} is no message"),
    }
}

#[tokio::test]
async fn a_pattern_goes_on_live_after_a_break_and_tells_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let first = gateway("127.0.0.1:0", directory.path()).await;
    let address = first.addresses().grpc.unwrap().to_string();
    let client = client(&first).await;
    for name in ["orders.created", "orders.paid"] {
        client.register(&event(name), &EventConfig::default()).await.unwrap();
        publish(&client, name, name).await;
    }
    let orders = SubscribeRequest::broadcast(Pattern::new("orders.*").unwrap());
    let request = SubscribeRequest { start: Start::Beginning, ack: AckMode::Auto, ..orders };
    let mut following = client.follow(request).await.unwrap();
    let mut names = [received(&mut following).await.event, received(&mut following).await.event];
    names.sort();
    assert_eq!(names, [event("orders.created"), event("orders.paid")]);
    soon(first.shutdown()).await.unwrap();
    let _second = gateway(&address, directory.path()).await;
    let gap = followed(&mut following).await;
    assert_eq!(gap, Followed::Gap(Gap { missed: None, cursor: None }));
    publish(&client, "orders.paid", "after").await;
    assert_eq!(received(&mut following).await.message.payload, "after", "and nothing again");
}

#[tokio::test]
async fn what_one_client_received_another_settles_by_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway("127.0.0.1:0", directory.path()).await;
    let (one, other) = (client(&gateway).await, client(&gateway).await);
    one.register(&event("orders"), &EventConfig::default()).await.unwrap();
    let pool = || SubscribeRequest::pool(Pattern::new("orders").unwrap(), GroupName::default());
    let entry = |received: &Received, action| {
        let ack_id = received.ack_id.clone().expect("an ack id");
        vec![SettleRequest { ack_id, action }]
    };
    publish(&one, "orders", "x").await;
    let mut following = one.follow(pool()).await.unwrap();
    let held = received(&mut following).await;
    let released = following.settle(entry(&held, SettleAction::Release { counted: false })).await.unwrap();
    assert_eq!(released[0].status, AckStatus::Released, "over the stream it came by");
    let held = received(&mut following).await;
    assert_eq!(held.attempt, 1);
    drop(following);
    let mut heir = other.follow(pool()).await.unwrap();
    let settled = other.settle_ids(entry(&held, SettleAction::Ack)).await.unwrap();
    assert_eq!(settled[0].status, AckStatus::Acked, "whoever has left holds it all the same");
    publish(&one, "orders", "y").await;
    assert_eq!(received(&mut heir).await.message.payload, "y");
    one.close().await.unwrap();
    other.close().await.unwrap();
}
