//! Consume: acks and credit on the stream.

use std::{num::NonZeroU64, time::Duration};

use busgate_core::{AckStatus, ErrorKind};
use busgate_wire::{
    convert::{Frame, Received, read_consumed},
    proto::event::v1::{
        AckEntry, ConsumeAck, ConsumeCredit, ConsumeLeave, ConsumeRequest, ConsumeResponse, SubscribeRequest,
        UnregisterEventRequest, consume_request,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::gateway::{
    CLERK, Client, Gateway, KEYS, SHOP, all_of, by, draft, failure, millis, publish, settle, soon, told,
    until, worker,
};

/// Both ends of a stream.
struct Consumer {
    frames: mpsc::Sender<ConsumeRequest>,
    stream: Streaming<ConsumeResponse>,
}

impl Consumer {
    async fn open(client: &mut Client, first: Vec<ConsumeRequest>) -> Result<Self, Status> {
        Self::open_by(client, first, Request::new).await
    }

    async fn open_by<F>(client: &mut Client, first: Vec<ConsumeRequest>, wrap: F) -> Result<Self, Status>
    where
        F: FnOnce(ReceiverStream<ConsumeRequest>) -> Request<ReceiverStream<ConsumeRequest>>,
    {
        let (frames, sent) = mpsc::channel(1024);
        for frame in first {
            frames.send(frame).await.unwrap();
        }
        let stream = soon(client.consume(wrap(ReceiverStream::new(sent)))).await?.into_inner();
        Ok(Self { frames, stream })
    }

    async fn send(&self, frame: ConsumeRequest) {
        self.frames.send(frame).await.unwrap();
    }

    async fn frame(&mut self) -> Frame {
        let frame = soon(self.stream.message()).await.expect("no error").expect("a frame");
        read_consumed(frame).unwrap().expect("a known frame")
    }

    async fn message(&mut self) -> Box<Received> {
        match self.frame().await {
            Frame::Message(message) => message,
            other => panic!("{other:?} is no message"),
        }
    }

    async fn settled(&mut self) -> (u64, Vec<AckStatus>) {
        match self.frame().await {
            Frame::Settled { sequence, answers } => {
                (sequence, answers.into_iter().map(|(_, answer)| answer.status).collect())
            }
            other => panic!("{other:?} answers no ack"),
        }
    }

    async fn end(&mut self) -> Result<(), Status> {
        soon(async {
            while self.stream.message().await?.is_some() {}
            Ok(())
        })
        .await
    }

    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.stream.message()).await.is_err()
    }
}

fn starts(request: SubscribeRequest) -> ConsumeRequest {
    ConsumeRequest { frame: Some(consume_request::Frame::Subscribe(request)) }
}

fn allows(messages: u32) -> ConsumeRequest {
    ConsumeRequest { frame: Some(consume_request::Frame::Credit(ConsumeCredit { messages })) }
}

fn leaves() -> ConsumeRequest {
    ConsumeRequest { frame: Some(consume_request::Frame::Leave(ConsumeLeave {})) }
}

fn settles(sequence: u64, entries: Vec<AckEntry>) -> ConsumeRequest {
    ConsumeRequest { frame: Some(consume_request::Frame::Ack(ConsumeAck { sequence, entries })) }
}

fn entry(message: &Received) -> AckEntry {
    AckEntry { ack_id: message.ack_id.clone().expect("an ack id"), ..AckEntry::default() }
}

#[tokio::test]
async fn acks_ride_the_stream_and_are_answered() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(2).await;
    let mut consumer = Consumer::open(&mut client, vec![starts(worker("orders"))]).await.unwrap();
    let (first, second) = (consumer.message().await, consumer.message().await);
    let nack = AckEntry { error: "later".into(), retry_after: millis(20), ..entry(&second) };
    let forged = AckEntry { ack_id: "forged".into(), ..AckEntry::default() };
    consumer.send(settles(7, vec![entry(&first), nack, forged.clone()])).await;
    assert_eq!(consumer.settled().await, (7, vec![AckStatus::Acked, AckStatus::Nacked, AckStatus::Invalid]));
    let again = consumer.message().await;
    assert_eq!((&again.message.id, again.attempt), (&second.message.id, 2));
    // A frame of nothing but forged ids is an answer too: it must not cost the stream.
    consumer.send(settles(8, vec![forged])).await;
    assert_eq!(consumer.settled().await, (8, vec![AckStatus::Invalid]));
    consumer.send(settles(9, vec![entry(&first), entry(&again)])).await;
    assert_eq!(consumer.settled().await, (9, vec![AckStatus::Stale, AckStatus::Acked]));
}

#[tokio::test]
async fn a_message_settles_by_its_number_on_its_stream() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(3).await;
    let mut consumer = Consumer::open(&mut client, vec![starts(worker("orders"))]).await.unwrap();
    let mut messages = Vec::new();
    for number in 1..=3 {
        let message = consumer.message().await;
        assert_eq!(message.number, NonZeroU64::new(number));
        messages.push(message);
    }
    let numbered = |number| AckEntry { number, ..AckEntry::default() };
    let never = AckEntry::default();
    let entries = vec![numbered(2), entry(&messages[0]), never, numbered(9), numbered(3), numbered(2)];
    consumer.send(settles(1, entries)).await;
    let (sequence, statuses) = consumer.settled().await;
    let known =
        [AckStatus::Acked, AckStatus::Acked, AckStatus::Invalid, AckStatus::Unknown, AckStatus::Acked];
    assert_eq!((sequence, &statuses[..5]), (1, &known[..]));
    assert_ne!(statuses[5], AckStatus::Acked, "it was acked by the first entry");
    until(|| gateway.gateway().stats().in_flight == 0).await;
    consumer.send(settles(2, vec![entry(&messages[1])])).await;
    assert_eq!(consumer.settled().await, (2, vec![AckStatus::Stale]));
}

#[tokio::test]
async fn credit_paces_even_before_the_subscription() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(5).await;
    let mut consumer = Consumer::open(&mut client, vec![allows(2), starts(worker("orders"))]).await.unwrap();
    let (first, second) = (consumer.message().await, consumer.message().await);
    consumer.send(settles(1, vec![entry(&first), entry(&second)])).await;
    consumer.settled().await;
    assert!(consumer.is_silent().await, "more messages than credit");
    consumer.send(allows(1)).await;
    assert_eq!(&*consumer.message().await.message.payload, b"2");
    assert!(consumer.is_silent().await, "more messages than credit");
    consumer.send(allows(u32::MAX)).await;
    assert_eq!(&*consumer.message().await.message.payload, b"3");
    assert_eq!(&*consumer.message().await.message.payload, b"4");
}

#[tokio::test]
async fn without_credit_the_end_is_told_all_the_same() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(1).await;
    let mut consumer = Consumer::open(&mut client, vec![allows(0), starts(worker("orders"))]).await.unwrap();
    assert!(consumer.is_silent().await);
    let core = gateway.gateway();
    tokio::join!(core.drain(Duration::from_secs(5)), async {
        assert!(matches!(consumer.frame().await, Frame::Draining { retry_after: Some(_) }));
        let end = consumer.end().await.expect_err("not for good");
        assert_eq!(told(&end), (Code::Unavailable, ErrorKind::Unavailable));
    });
}

#[tokio::test]
async fn a_client_that_is_done_gets_its_answers_and_ok() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(1).await;
    let mut consumer = Consumer::open(&mut client, vec![starts(worker("orders"))]).await.unwrap();
    let message = consumer.message().await;
    consumer.send(settles(1, vec![entry(&message)])).await;
    let Consumer { frames, mut stream } = consumer;
    drop(frames);
    let answer = soon(stream.message()).await.unwrap().unwrap();
    assert!(matches!(read_consumed(answer).unwrap(), Some(Frame::Settled { sequence: 1, .. })));
    assert!(soon(stream.message()).await.unwrap().is_none());
    until(|| gateway.gateway().stats().sessions == 0).await;
}

#[tokio::test]
async fn a_left_stream_keeps_its_leases() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(2).await;
    let one = SubscribeRequest { max_in_flight: 2, ..worker("orders") };
    let mut consumer = Consumer::open(&mut client, vec![starts(one)]).await.unwrap();
    let (first, second) = (consumer.message().await, consumer.message().await);
    consumer.send(settles(1, vec![entry(&first)])).await;
    consumer.send(leaves()).await;
    assert_eq!(consumer.settled().await, (1, vec![AckStatus::Acked]), "what was said before is answered");
    consumer.end().await.expect("OK");
    until(|| gateway.gateway().stats().sessions == 0).await;
    // The one that comes next is not given what is leased still.
    let mut heir = Consumer::open(&mut client, vec![starts(worker("orders"))]).await.unwrap();
    assert!(heir.is_silent().await, "the lease was given back");
    let settled = settle(&mut client, vec![entry(&second)]).await;
    assert_eq!(settled, [busgate_wire::proto::event::v1::AckStatus::Acked]);
    publish(&mut client, "orders", "2").await;
    assert_eq!(&*heir.message().await.message.payload, b"2");
}

#[tokio::test]
async fn acks_are_taken_while_the_client_does_not_read() {
    let gateway = Gateway::configured("limits.max_payload_bytes = 4194304").await;
    let mut client = gateway.with_event("orders").await;
    // More than the connection takes without being read.
    let large = "x".repeat(1024 * 1024);
    for _ in 0..12 {
        publish(&mut client, "orders", &large).await;
    }
    let mut consumer = Consumer::open(&mut client, vec![starts(worker("orders"))]).await.unwrap();
    let first = consumer.message().await;
    consumer.send(settles(1, vec![entry(&first)])).await;
    until(|| gateway.gateway().stats().acked == 1).await;
}

#[tokio::test]
async fn frames_out_of_place_are_refused() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(0).await;
    let invalid = (Code::InvalidArgument, ErrorKind::Invalid);
    for first in [
        vec![settles(1, vec![])],
        vec![leaves()],
        vec![ConsumeRequest::default()],
        vec![starts(all_of("no name"))],
    ] {
        let opened = Consumer::open(&mut client, first).await;
        assert_eq!(failure(opened.map(|_| ())), invalid);
    }
    let silent = client.consume(tokio_stream::empty()).await;
    assert_eq!(failure(silent), invalid);
    for second in [starts(worker("orders")), ConsumeRequest::default()] {
        let mut consumer = Consumer::open(&mut client, vec![starts(worker("orders"))]).await.unwrap();
        consumer.send(second).await;
        assert_eq!(failure(consumer.end().await), invalid);
    }
}

#[tokio::test]
async fn who_may_not_is_told_before_the_stream() {
    let gateway = Gateway::configured(KEYS).await;
    let mut client = gateway.client().await;
    let opened = Consumer::open_by(&mut client, vec![starts(worker("stock"))], |sent| by(CLERK, sent)).await;
    assert_eq!(failure(opened.map(|_| ())), (Code::PermissionDenied, ErrorKind::Denied));
    let opened = Consumer::open(&mut client, vec![starts(worker("orders"))]).await;
    assert_eq!(failure(opened.map(|_| ())), (Code::Unauthenticated, ErrorKind::Unauthenticated));
}

#[tokio::test]
async fn another_principals_message_is_not_settled_here() {
    let gateway = Gateway::configured(KEYS).await;
    let mut client = gateway.client().await;
    gateway.register("orders").await;
    client.publish(by(SHOP, draft("orders", "x"))).await.unwrap();
    let open = |client: Client, key| async move {
        let mut client = client;
        Consumer::open_by(&mut client, vec![starts(worker("orders"))], |sent| by(key, sent)).await.unwrap()
    };
    let mut clerk = open(client.clone(), CLERK).await;
    let message = clerk.message().await;
    let mut shop = open(client, SHOP).await;
    shop.send(settles(3, vec![entry(&message)])).await;
    assert_eq!(shop.settled().await, (3, vec![AckStatus::NotOwner]));
}

#[tokio::test]
async fn unregistering_ends_it_with_ok() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(0).await;
    let mut consumer = Consumer::open(&mut client, vec![starts(worker("orders"))]).await.unwrap();
    client.unregister_event(UnregisterEventRequest { name: "orders".into() }).await.unwrap();
    consumer.end().await.expect("OK");
    let trailers = consumer.stream.trailers().await.unwrap().expect("trailers");
    assert_eq!(trailers.get("busgate-error-kind").unwrap(), "closed");
}
