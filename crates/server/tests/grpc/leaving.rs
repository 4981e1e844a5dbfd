//! A gateway that goes away: nothing is lost, and clients come back.

use std::time::Duration;

use busgate_core::ErrorKind;
use busgate_wire::proto::event::v1::{AckStatus, PublishStreamRequest};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::gateway::{
    Client, Gateway, ack_of, all_of, draft, error, failure, next, publish, register, settle, soon, subscribe,
    text, told, until, worker,
};

#[tokio::test]
async fn a_drain_takes_the_last_acks_and_ends_with_unavailable() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    let mut stream = subscribe(&mut client, worker("orders")).await;
    let mut idle = subscribe(&mut client, all_of("orders")).await;
    let (message, copy) = (next(&mut stream).await, next(&mut idle).await);
    let core = gateway.gateway();
    let last_acks = async {
        until(|| core.is_draining()).await;
        // On the very connection: the server waits for it.
        assert_eq!(settle(&mut client, vec![ack_of(&message), ack_of(&copy)]).await, [AckStatus::Acked; 2]);
        for stream in [&mut stream, &mut idle] {
            let end = soon(stream.message()).await.expect_err("not for good");
            assert_eq!(told(&end), (Code::Unavailable, ErrorKind::Unavailable));
            assert!(error::<()>(Err(end)).retry_after().is_some());
        }
    };
    soon(async { tokio::join!(gateway.shutdown(), last_acks) }).await;
}

#[tokio::test]
async fn publishing_streams_and_new_calls_are_told_to_come_back() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let (frames, sent) = tokio::sync::mpsc::channel(4);
    frames.send(PublishStreamRequest { sequence: 1, message: Some(draft("orders", "x")) }).await.unwrap();
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let mut answers = client.publish_stream(sent).await.unwrap().into_inner();
    soon(answers.next()).await.unwrap().unwrap();
    gateway.gateway().drain(Duration::ZERO).await;
    let unavailable = (Code::Unavailable, ErrorKind::Unavailable);
    assert_eq!(told(&soon(answers.message()).await.expect_err("an end")), unavailable);
    assert_eq!(failure(client.subscribe(all_of("orders")).await), unavailable);
    assert_eq!(failure(client.publish(draft("orders", "y")).await), unavailable);
}

#[tokio::test]
async fn a_client_reconnects_and_resumes_at_the_next_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let log = format!("data_dir = {:?}", folder.path());
    let gateway = Gateway::over_log("127.0.0.1:0", &log).await;
    let address = gateway.address().to_string();
    let mut client: Client = gateway.with_event("orders").await;
    for n in 0..3 {
        publish(&mut client, "orders", &n.to_string()).await;
    }
    let mut stream = subscribe(&mut client, worker("orders")).await;
    let first = next(&mut stream).await;
    assert_eq!(settle(&mut client, vec![ack_of(&first)]).await, [AckStatus::Acked]);
    let rest = async {
        while let Ok(message) = soon(stream.message()).await {
            let message = message.expect("no OK end").into_fields().unwrap();
            settle(&mut client, vec![ack_of(&message)]).await;
        }
    };
    soon(async { tokio::join!(gateway.shutdown(), rest) }).await;
    let _next = Gateway::over_log(&address, &log).await;
    // The same client, on the same channel, with the same request.
    publish(&mut client, "orders", "3").await;
    let mut stream = subscribe(&mut client, worker("orders")).await;
    assert_eq!(text(&next(&mut stream).await), "3");
    register(&mut client, "orders").await;
}
