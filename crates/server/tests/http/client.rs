//! A light HTTP client: a connection a call, over hyper.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};

/// How long anything may take that is expected to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Call {
    address: SocketAddr,
    request: http::request::Builder,
    body: Bytes,
    http2: bool,
    host: bool,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An event of an event stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

pub(crate) struct EventStream {
    pub(crate) headers: HeaderMap,
    body: Incoming,
    buffer: BytesMut,
    _connection: Connection,
}

/// A connection's task; it ends with its owner.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Call {
    pub(crate) fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        let request = Request::builder().method(method).uri(path);
        Self { address, request, body: Bytes::new(), http2: false, host: true }
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.host &= name != "host";
        self.request = self.request.header(name, value.as_ref());
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn over_http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let (response, _connection) = self.begin().await;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.expect("a whole answer").unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() }
    }

    /// The status alone, of an answer that may never end.
    pub(crate) async fn status(self) -> u16 {
        self.begin().await.0.status().as_u16()
    }

    pub(crate) async fn stream(self) -> EventStream {
        self.try_stream().await.unwrap_or_else(|status| panic!("no stream, but {status}"))
    }

    /// The stream, or the status of its refusal.
    pub(crate) async fn try_stream(self) -> Result<EventStream, u16> {
        let (response, connection) = self.begin().await;
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        let (parts, body) = response.into_parts();
        Ok(EventStream { headers: parts.headers, body, buffer: BytesMut::new(), _connection: connection })
    }

    #[expect(clippy::disallowed_methods, reason = "the connection owns its task and ends it")]
    async fn begin(self) -> (Response<Incoming>, Connection) {
        let io = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let mut builder = self.request;
        if self.http2 {
            let path = builder.uri_ref().unwrap().to_string();
            builder = builder.uri(format!("http://{}{path}", self.address));
        } else if self.host {
            builder = builder.header("host", self.address.to_string());
        }
        let request = builder.body(Full::new(self.body)).unwrap();
        let (answer, connection) = if self.http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            (tokio::time::timeout(PATIENCE, sender.send_request(request)).await, connection)
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            (tokio::time::timeout(PATIENCE, sender.send_request(request)).await, connection)
        };
        (answer.expect("an answer in time").unwrap(), Connection(connection))
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        self.json()
    }

    /// Checks that this is a problem of the table, whole and consistent.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, kind: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("busgate-error-kind"), kind);
        assert!(["none", "unknown"].contains(&self.header("busgate-effect")));
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], kind);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(problem["title"].is_string() && problem["detail"].is_string() && problem["type"].is_string());
        problem
    }
}

impl EventStream {
    /// The next event that is not a comment or the retry time.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.buffer.split_to(end + 2);
                if let Some(event) = parse(std::str::from_utf8(&block).unwrap()) {
                    return Some(event);
                }
                continue;
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event in time")?;
            self.buffer.extend_from_slice(&frame.ok()?.into_data().unwrap_or_default());
        }
    }

    /// The next event of this kind; others in between are skipped.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.kind == kind {
                return event;
            }
        }
    }
}

fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = field("data")?;
    Some(Event {
        kind: field("event").unwrap_or("message").into(),
        id: field("id").map(ToOwned::to_owned),
        data: serde_json::from_str(data).unwrap(),
    })
}
