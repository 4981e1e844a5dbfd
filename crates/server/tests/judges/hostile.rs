//! Sockets that mean no good. Meanwhile a client that does works on; afterwards the gateway holds no more than before.

use std::{future::Future, net::SocketAddr, time::Duration};

use busgate_wire::proto::event::v1::{
    DeliveryMode, StartPosition, SubscribeRequest, event_service_client::EventServiceClient,
};
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Endpoint;

use super::{
    gateway::Gateway,
    raw::{self, PATIENCE},
    vitals::Vitals,
};

/// How long the gateway gives a head and a body here.
const BRIEF: [(&str, &str); 3] = [
    ("BUSGATE_LIMITS_HEADER_TIMEOUT", "1s"),
    ("BUSGATE_LIMITS_BODY_TIMEOUT", "1s"),
    ("BUSGATE_DELIVERY_AUTO_REGISTER", "true"),
];

const REGISTERING: [(&str, &str); 1] = [("BUSGATE_DELIVERY_AUTO_REGISTER", "true")];

/// How many connections are opened at once.
const ABREAST: usize = 64;

/// Megabytes that may come and go.
pub(crate) const SPARE: u64 = 48;

/// Megabytes that the allocator may keep of ten thousand connections for the next.
const RUSH: u64 = 192;

/// A client that publishes all the while; each publish must be answered in time.
pub(crate) struct Worker {
    stop: oneshot::Sender<()>,
    published: JoinHandle<(u32, Duration)>,
}

impl Worker {
    pub(crate) fn start(gateway: &Gateway) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let address = gateway.http;
        #[allow(clippy::disallowed_methods, reason = "the test waits for it")]
        let published = tokio::spawn(async move {
            let (mut published, mut longest) = (0, Duration::ZERO);
            while stopped.try_recv().is_err() {
                let started = Instant::now();
                let answer = raw::ask(address, &publish("work", "x")).await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "a client that works was told {answer}");
                (published, longest) = (published + 1, longest.max(started.elapsed()));
                sleep(Duration::from_millis(20)).await;
            }
            (published, longest)
        });
        Self { stop, published }
    }

    pub(crate) async fn finish(self) {
        self.stop.send(()).expect("a client that still works");
        let (published, longest) = self.published.await.expect("a client that could work");
        eprintln!("{published} published meanwhile, the slowest in {longest:?}");
        assert!(published > 0);
    }
}

fn publish(event: &str, body: &str) -> String {
    format!(
        "POST /v1/events/{event}/messages HTTP/1.1\r\nhost: gate\r\nconnection: close\r\ncontent-type: text/plain\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn event_stream(event: &str) -> String {
    format!("GET /v1/events/{event}/stream HTTP/1.1\r\nhost: gate\r\n\r\n")
}

fn web_socket(event: &str) -> String {
    format!(
        "GET /v1/events/{event}/subscribe HTTP/1.1\r\nhost: gate\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Does something `count` times, many at once.
async fn often<T, F: Future<Output = T>>(count: usize, each: impl Fn(usize) -> F) -> Vec<T> {
    stream::iter(0..count).map(each).buffer_unordered(ABREAST).collect().await
}

/// Sends `start`, then a byte at a time, until the gateway ends it: that must be soon.
async fn drip(address: SocketAddr, start: &'static [u8]) {
    let mut stream = raw::connect(address).await;
    let (mut reader, mut writer) = stream.split();
    let dripping = async {
        let mut drop = start;
        while writer.write_all(drop).await.is_ok() {
            drop = b"x";
            sleep(Duration::from_millis(100)).await;
        }
    };
    let mut answer = Vec::new();
    let ended = async {
        tokio::select! {
            _ = reader.read_to_end(&mut answer) => {}
            () = dripping => {}
        }
    };
    timeout(PATIENCE, ended).await.expect("a client that drips is sent away");
}

/// Sends `bytes` and then nothing; the gateway must end it.
async fn fall_silent(address: SocketAddr, bytes: &'static [u8]) {
    let mut stream = raw::connect(address).await;
    _ = stream.write_all(bytes).await;
    raw::rest(&mut stream).await;
}

/// Sends `bytes` and ends its own side; the gateway must end the other.
async fn half_close(address: SocketAddr, bytes: &'static [u8]) {
    let mut stream = raw::connect(address).await;
    _ = stream.write_all(bytes).await;
    _ = stream.shutdown().await;
    raw::rest(&mut stream).await;
}

/// The first bytes of a TLS 1.3 client.
const TLS_HELLO: &[u8] =
    b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03 thirty-two bytes that are random \x20";
const HALF_A_HEAD: &[u8] = b"GET /v1/events HTTP/1.1\r\nhost: gate\r\nx-slow: ";
const HALF_A_BODY: &[u8] =
    b"POST /v1/events/work/messages HTTP/1.1\r\nhost: gate\r\ncontent-length: 100000\r\n\r\nx";
const HALF_A_CHUNK: &[u8] =
    b"POST /v1/events/work/messages HTTP/1.1\r\nhost: gate\r\ntransfer-encoding: chunked\r\n\r\nfffff\r\nx";
const HALF_A_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
const GARBAGE: &[u8] = b"\x00\xff\xfe\x01garbage\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_take_their_time_are_sent_away() {
    let gateway = Gateway::start(&BRIEF);
    let worker = Worker::start(&gateway);
    raw::ask(gateway.http, &publish("work", "x")).await;
    let before = Vitals::of(&gateway).await;
    for port in [gateway.http, gateway.grpc] {
        for start in
            [b"".as_slice(), HALF_A_HEAD, HALF_A_BODY, HALF_A_CHUNK, HALF_A_PREFACE, TLS_HELLO, GARBAGE]
        {
            let silent = often(ABREAST, |_| fall_silent(port, start));
            let closed = often(ABREAST, |_| half_close(port, start));
            tokio::join!(silent, closed);
        }
        for start in [HALF_A_HEAD, HALF_A_BODY, HALF_A_CHUNK] {
            often(ABREAST, |_| drip(port, start)).await;
        }
    }
    worker.finish().await;
    before.return_to(&gateway, SPARE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_leave_nothing_behind() {
    let gateway = Gateway::start(&REGISTERING);
    let worker = Worker::start(&gateway);
    raw::ask(gateway.http, &publish("storm", "x")).await;
    let before = Vitals::of(&gateway).await;
    let started = Instant::now();
    for port in [gateway.http, gateway.grpc] {
        often(2000, |_| raw::connect_and_reset(port)).await;
        often(1000, |_| async move { drop(raw::connect(port).await) }).await;
    }
    eprintln!("6000 connects in {:?}", started.elapsed());
    for request in [event_stream("storm"), web_socket("storm")] {
        // Half of them don't wait for the answer.
        often(1000, |turn| {
            let request = &request;
            async move {
                let mut stream = raw::connect(gateway.http).await;
                stream.write_all(request.as_bytes()).await.expect("a request that is taken");
                if turn % 2 == 0 {
                    raw::until(&mut stream, "\r\n\r\n").await;
                }
            }
        })
        .await;
    }
    worker.finish().await;
    before.return_to(&gateway, SPARE).await;
}

/// Opens the connections of so many subscribers and waits until each has begun.
async fn subscribers(count: usize, address: SocketAddr, request: &str, begun: &str) -> Vec<TcpStream> {
    let one = |_| async move {
        let mut stream = raw::connect(address).await;
        stream.write_all(request.as_bytes()).await.expect("a request that is taken");
        raw::until(&mut stream, begun).await;
        stream
    };
    often(count, one).await
}

/// So many streams of one gRPC connection each a hundred.
async fn calls(
    count: usize,
    address: SocketAddr,
) -> Vec<tonic::Streaming<busgate_wire::proto::event::v1::Message>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut calls = Vec::new();
    for _ in 0..count / 100 {
        let channel = endpoint.connect().await.expect("a connection");
        let one = |_| {
            let mut client = EventServiceClient::new(channel.clone());
            async move {
                let request = SubscribeRequest {
                    event: "idle".to_owned(),
                    delivery_mode: DeliveryMode::Broadcast.into(),
                    start_from: StartPosition::Latest.into(),
                    ..SubscribeRequest::default()
                };
                client.subscribe(request).await.expect("a stream").into_inner()
            }
        };
        calls.extend(often(100, one).await);
    }
    calls
}

/// How many connections this process may have, at most `wanted`.
fn room(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).expect("a limit that may be had");
    let granted = limit.map_or(wanted, |limit| usize::try_from(limit).unwrap_or(wanted).saturating_sub(500));
    wanted.min(granted)
}

/// Ten thousand subscribers wait, hear a message and leave.
async fn rush(gateway: &Gateway) {
    let started = Instant::now();
    let each = room(8000) / 2;
    let sockets = subscribers(each, gateway.http, &web_socket("idle"), "\r\n\r\n").await;
    let streams = subscribers(each, gateway.http, &event_stream("idle"), ": connected").await;
    let calls = calls(2000, gateway.grpc).await;
    let full = Vitals::of(gateway).await;
    eprintln!("{} wait after {:?}: {full:?}", 2 * each + calls.len(), started.elapsed());
    assert!(full.sessions >= 2 * each as u64 + calls.len() as u64, "{full:?}");
    raw::ask(gateway.http, &publish("idle", "listen")).await;
    for mut stream in sockets.into_iter().chain(streams) {
        raw::until(&mut stream, "bGlzdGVu").await;
    }
    for mut call in calls {
        let message = timeout(PATIENCE, call.next()).await.expect("a message in time");
        message.expect("a message").expect("no error");
    }
    eprintln!("all have heard after {:?}", started.elapsed());
}

/// What the allocator keeps of the first rush serves the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_who_wait_hear_and_leave() {
    let gateway = Gateway::start(&REGISTERING);
    let worker = Worker::start(&gateway);
    raw::ask(gateway.http, &publish("idle", "x")).await;
    let before = Vitals::of(&gateway).await;
    rush(&gateway).await;
    let after = before.return_to(&gateway, RUSH).await;
    rush(&gateway).await;
    after.return_to(&gateway, SPARE).await;
    worker.finish().await;
}
