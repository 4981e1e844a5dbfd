//! HTTP/2 connections that send and never read: resets, continuations, pings, settings.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, timeout},
};

use super::{
    gateway::Gateway,
    hostile::{SPARE, Worker},
    raw,
    vitals::Vitals,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `GET http://a/`, in HPACK without a table.
const REQUEST: &[u8] = b"\x82\x86\x84\x41\x01a";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How many frames each flood has.
const FRAMES: u32 = 50_000;

/// How long a connection may refuse more before the flood gives up on it.
const PATIENCE: Duration = Duration::from_secs(2);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends `start` and then frame after frame until all are sent, the gateway ends it, or takes no more; how many it took.
async fn flood(address: SocketAddr, start: &[u8], next: impl Fn(u32) -> Vec<u8>) -> u32 {
    poured(&mut raw::connect(address).await, start, next).await
}

/// The same; whether the gateway ended it. What the kernels hold between the two may be the whole flood.
async fn cut_off(address: SocketAddr, start: &[u8], next: impl Fn(u32) -> Vec<u8>) -> bool {
    let mut stream = raw::connect(address).await;
    let taken = poured(&mut stream, start, next).await;
    let read_out = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    taken < FRAMES || read_out.is_ok()
}

async fn poured(stream: &mut TcpStream, start: &[u8], next: impl Fn(u32) -> Vec<u8>) -> u32 {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let mut bytes = [PREFACE, &settings, start].concat();
    for turn in 0..FRAMES {
        bytes.extend(next(turn));
        if bytes.len() > 16 * 1024 {
            let sent = timeout(PATIENCE, stream.write_all(&bytes)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return turn;
            }
            bytes.clear();
        }
    }
    FRAMES
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_leave_nothing_behind() {
    let gateway = Gateway::start(&[("BUSGATE_DELIVERY_AUTO_REGISTER", "true")]);
    let worker = Worker::start(&gateway);
    let before = Vitals::of(&gateway).await;
    for port in [gateway.http, gateway.grpc] {
        let reset = |turn| {
            let stream = 2 * turn + 1;
            let opened = frame(HEADERS, END_STREAM | END_HEADERS, stream, REQUEST);
            [opened, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        };
        let opened = frame(HEADERS, END_STREAM, 1, REQUEST);
        let (_, long, empty, ..) = tokio::join!(
            flood(port, &[], reset),
            cut_off(port, &opened, |_| frame(CONTINUATION, 0, 1, b"\x40\x01x\x01y")),
            cut_off(port, &opened, |_| frame(CONTINUATION, 0, 1, &[])),
            flood(port, &[], |_| frame(PING, 0, 0, &[0; 8])),
            flood(port, &[], |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
            flood(port, &[], |turn| frame(HEADERS, END_STREAM | END_HEADERS, 2 * turn + 1, REQUEST)),
        );
        assert!(long && empty, "a head without an end is cut off: long {long}, empty {empty}");
        let during = Vitals::of(&gateway).await;
        assert!(during.memory <= before.memory + 4 * SPARE, "before {before:?}, then {during:?}");
    }
    worker.finish().await;
    before.return_to(&gateway, 2 * SPARE).await;
}
