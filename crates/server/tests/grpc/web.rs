//! gRPC-Web: over HTTP/1.1, for pages that may call.

use busgate_wire::proto::event::v1::UnregisterEventRequest;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::gateway::{Gateway, all_of, publish, soon};

/// Sends a request with these headers and this body.
async fn send(gateway: &Gateway, http: &str, method: &str, headers: &str, body: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    let head = format!(
        "{http} /event.v1.EventService/{method} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         content-length: {}\r\n{headers}\r\n",
        gateway.address(),
        body.len()
    );
    socket.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    socket
}

/// What comes back for a request about health, whole.
async fn answer(gateway: &Gateway, http: &str, headers: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut socket = send(gateway, http, "Health", headers, body).await;
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap(), body)
}

const WEB: &str = "content-type: application/grpc-web+proto\r\n";
const EMPTY: &[u8] = &[0, 0, 0, 0, 0];

#[tokio::test]
async fn a_call_is_answered_with_its_trailers_in_the_body() {
    let gateway = Gateway::start().await;
    let (head, body) = answer(&gateway, "POST", WEB, EMPTY).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/grpc-web+proto"), "{head}");
    let body = String::from_utf8_lossy(&body).replace(' ', "");
    assert!(body.contains("ok"), "{body:?}");
    assert!(body.contains("grpc-status:0"), "{body:?}");
}

#[tokio::test]
async fn a_page_of_another_origin_is_kept_out() {
    let gateway = Gateway::start().await;
    let foreign = format!("{WEB}origin: https://evil.example\r\n");
    let (head, _) = answer(&gateway, "POST", &foreign, EMPTY).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert!(head.contains("busgate-error-kind: denied"), "{head}");
    let asks = "origin: https://evil.example\r\naccess-control-request-method: POST\r\n";
    let (head, _) = answer(&gateway, "OPTIONS", asks, b"").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}

#[tokio::test]
async fn a_listed_origin_may_ask_and_read() {
    let gateway = Gateway::configured("allowed_origins = [\"https://app.example\"]").await;
    let asks = "origin: https://app.example\r\naccess-control-request-method: POST\r\n\
                access-control-request-headers: x-grpc-web,authorization\r\n";
    let (head, _) = answer(&gateway, "OPTIONS", asks, b"").await;
    assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    assert!(head.contains("access-control-allow-origin: https://app.example"), "{head}");
    assert!(head.contains("access-control-allow-headers: x-grpc-web,authorization"), "{head}");
    let (head, _) = answer(&gateway, "POST", &format!("{WEB}origin: https://app.example\r\n"), EMPTY).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("access-control-allow-origin: https://app.example"), "{head}");
    assert!(head.contains("busgate-error-kind"), "what a page may read: {head}");
}

#[tokio::test]
async fn its_own_origin_may_call() {
    let gateway = Gateway::start().await;
    let own = format!("{WEB}origin: http://{}\r\n", gateway.address());
    let (head, _) = answer(&gateway, "POST", &own, EMPTY).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn plain_http_is_refused() {
    let gateway = Gateway::start().await;
    let (head, _) = answer(&gateway, "GET", "", b"").await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
}

#[tokio::test]
async fn a_stream_comes_frame_by_frame_and_ends_with_its_trailers() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "over the web").await;
    let message = all_of("orders").encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&message);
    let mut socket = send(&gateway, "POST", "Subscribe", WEB, &body).await;
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("over the web") {
        assert!(soon(socket.read_buf(&mut answer)).await.unwrap() > 0, "it ended early");
    }
    let name = "orders".into();
    client.unregister_event(UnregisterEventRequest { name }).await.unwrap();
    soon(socket.read_to_end(&mut answer)).await.unwrap();
    let end = String::from_utf8_lossy(&answer).replace(' ', "");
    assert!(end.contains("grpc-status:0") && end.contains("busgate-error-kind:closed"), "{end:?}");
}
