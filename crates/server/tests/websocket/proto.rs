//! The same frames as protobuf: subprotocol `busgate.v1.proto`.

use busgate_wire::proto::{
    busgate::ws::v1::{ClientFrame, Ping, ServerFrame, Unsubscribe, client_frame, server_frame},
    event::v1::{
        AckEntry, AckRequest, AckStatus, DeliveryMode, PublishRequest, StartPosition, SubscribeRequest,
    },
};
use prost::Message as _;
use tokio_tungstenite::tungstenite::Message;

use super::{client::Socket, gate::Gate};

const PROTO: [(&str, &str); 1] = [("sec-websocket-protocol", "chat, busgate.v1.proto")];

async fn open(gate: &Gate, path: &str) -> Socket {
    let socket = Socket::with(gate, path, &PROTO).await.unwrap();
    assert_eq!(socket.subprotocol.as_deref(), Some("busgate.v1.proto"));
    socket
}

async fn send(socket: &mut Socket, reference: &str, frame: client_frame::Frame) {
    let frame = ClientFrame { r#ref: reference.into(), frame: Some(frame) };
    socket.send_message(Message::binary(frame.encode_to_vec())).await;
}

async fn next(socket: &mut Socket) -> (String, server_frame::Frame) {
    let Message::Binary(bytes) = socket.next_message().await else { panic!("no binary message") };
    let frame = ServerFrame::decode(bytes).unwrap();
    (frame.sub, frame.frame.unwrap())
}

fn ack(ack_id: &str) -> client_frame::Frame {
    let entry = AckEntry { ack_id: ack_id.into(), ..AckEntry::default() };
    client_frame::Frame::Ack(AckRequest { entries: vec![entry] })
}

#[tokio::test]
async fn one_event_a_socket() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let receipt = gate.publish("e", "hello").await;
    let mut socket =
        open(&gate, "/v1/events/e/subscribe?delivery_mode=worker_pool&start_from=beginning").await;
    let (sub, server_frame::Frame::Message(message)) = next(&mut socket).await else { panic!("no message") };
    let message = message.into_fields().unwrap();
    assert_eq!((sub.as_str(), &message.payload[..]), ("", &b"hello"[..]));
    assert_eq!(message.cursor, receipt.cursor.unwrap().as_str());
    send(&mut socket, "a", ack(&message.ack_id)).await;
    let (_, server_frame::Frame::Ok(ok)) = next(&mut socket).await else { panic!("no answer") };
    assert_eq!((ok.r#ref.as_str(), ok.results[0].status), ("a", AckStatus::Acked as i32));
}

#[tokio::test]
async fn many_on_one_socket() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let mut socket = open(&gate, "/v1/ws").await;
    let subscribe = SubscribeRequest {
        event: "e".into(),
        delivery_mode: DeliveryMode::WorkerPool as i32,
        start_from: StartPosition::Beginning as i32,
        ..SubscribeRequest::default()
    };
    send(&mut socket, "s", client_frame::Frame::Subscribe(subscribe)).await;
    assert!(matches!(next(&mut socket).await.1, server_frame::Frame::Ok(ok) if ok.r#ref == "s"));
    let publish = PublishRequest { event: "e".into(), payload: "x".into(), ..PublishRequest::default() };
    send(&mut socket, "p", client_frame::Frame::Publish(publish)).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        match next(&mut socket).await {
            (sub, server_frame::Frame::Message(message)) => {
                assert_eq!(sub, "s");
                send(&mut socket, "", ack(&message.into_fields().unwrap().ack_id)).await;
                seen.push("message");
            }
            (_, server_frame::Frame::Ok(ok)) => {
                assert!(ok.published.is_some());
                seen.push("ok");
            }
            (_, other) => panic!("{other:?}"),
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["message", "ok"]);
    gate.until("acked", |gateway| gateway.stats().acked == 1).await;
    send(&mut socket, "u", client_frame::Frame::Unsubscribe(Unsubscribe { sub: "s".into() })).await;
    assert!(matches!(next(&mut socket).await.1, server_frame::Frame::Ok(ok) if ok.r#ref == "u"));
}

#[tokio::test]
async fn errors_are_frames_too() {
    let gate = Gate::open().await;
    let mut socket = open(&gate, "/v1/ws").await;
    let publish = PublishRequest { event: "not a name".into(), ..PublishRequest::default() };
    send(&mut socket, "p", client_frame::Frame::Publish(publish)).await;
    let (_, server_frame::Frame::Error(error)) = next(&mut socket).await else { panic!("no error") };
    assert_eq!((error.r#ref.as_str(), error.code.as_str()), ("p", "invalid"));
    for message in [Message::binary(vec![0xff]), Message::text(r#"{"type":"ping"}"#)] {
        socket.send_message(message).await;
        let (_, server_frame::Frame::Error(error)) = next(&mut socket).await else { panic!("no error") };
        assert_eq!(error.code, "invalid");
    }
    send(&mut socket, "!", client_frame::Frame::Ping(Ping {})).await;
    assert!(matches!(next(&mut socket).await.1, server_frame::Frame::Ok(ok) if ok.r#ref == "!"));
}
