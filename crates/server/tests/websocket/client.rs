//! Clients: one that keeps the protocol, one that need not.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue, protocol::CloseFrame},
};

use super::gate::Gate;

/// How long anything may take that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long it takes to believe that nothing comes.
pub(crate) const SILENCE: Duration = Duration::from_millis(100);

/// A client whose frames are JSON.
pub(crate) struct Socket {
    pub(crate) stream: WebSocketStream<TcpStream>,
    pub(crate) subprotocol: Option<String>,
}

impl Socket {
    pub(crate) async fn open(gate: &Gate, path: &str) -> Self {
        Self::with(gate, path, &[]).await.unwrap()
    }

    /// Opens a socket with headers; an answer that is no 101 is its status and body.
    pub(crate) async fn with(
        gate: &Gate,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, Value)> {
        let address = gate.address();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let tcp = TcpStream::connect(address).await.unwrap();
        match timeout(PATIENCE, client_async(request, tcp)).await.unwrap() {
            Ok((stream, response)) => {
                let subprotocol = response.headers().get("sec-websocket-protocol");
                Ok(Self { stream, subprotocol: subprotocol.map(|name| name.to_str().unwrap().to_owned()) })
            }
            Err(Error::Http(response)) => {
                let (head, body) = response.into_parts();
                assert_eq!(head.headers["content-type"], "application/problem+json");
                Err((
                    head.status.as_u16(),
                    serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default(),
                ))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The status and the code of a refusal.
    pub(crate) async fn refused(gate: &Gate, path: &str, headers: &[(&'static str, &str)]) -> (u16, String) {
        match Self::with(gate, path, headers).await {
            Ok(_) => panic!("{path}: not refused"),
            Err((status, problem)) => (status, problem["code"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// The next WebSocket message but pings and pongs.
    pub(crate) async fn next_message(&mut self) -> Message {
        loop {
            let next = timeout(PATIENCE, self.stream.next()).await.expect("nothing came");
            match next.expect("the end").expect("a message") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        match self.next_message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next frame, which has this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The payloads of the next messages, which are text.
    pub(crate) async fn payloads(&mut self, count: usize) -> Vec<String> {
        let mut payloads = Vec::new();
        for _ in 0..count {
            payloads.push(self.expect("message").await["payload"].as_str().unwrap().to_owned());
        }
        payloads
    }

    /// Nothing comes.
    pub(crate) async fn silent(&mut self) {
        if let Ok(came) = timeout(SILENCE, self.next_message()).await {
            panic!("came: {came:?}");
        }
    }

    pub(crate) async fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        timeout(PATIENCE, self.stream.send(message)).await.unwrap().unwrap();
    }

    /// Writes a frame that goes out with the next flush.
    pub(crate) async fn feed(&mut self, text: &str) {
        self.stream.feed(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn flush(&mut self) {
        self.stream.flush().await.unwrap();
    }

    /// Sends a frame and takes the answer.
    pub(crate) async fn ask(&mut self, frame: &Value) -> Value {
        self.send(frame).await;
        self.next().await
    }

    /// The close that comes next, whatever frames come before it.
    pub(crate) async fn closed(&mut self) -> CloseFrame {
        loop {
            if let Message::Close(close) = self.next_message().await {
                return close.expect("a close has a code");
            }
        }
    }

    /// The code of the close that comes next.
    pub(crate) async fn close_code(&mut self) -> u16 {
        self.closed().await.code.into()
    }
}

/// A client that sends what it likes.
pub(crate) struct Raw<R = TcpStream> {
    stream: R,
}

impl Raw {
    pub(crate) async fn open(gate: &Gate, path: &str) -> Self {
        Self::open_with(gate, path, b"").await
    }

    /// Sends `early` in one piece with the handshake.
    pub(crate) async fn open_with(gate: &Gate, path: &str, early: &[u8]) -> Self {
        Self::shake(gate, path, "", early).await.0
    }

    /// Offers extensions; the answer's head tells which were taken.
    pub(crate) async fn open_offering(gate: &Gate, path: &str, extensions: &str) -> (Self, String) {
        Self::shake(gate, path, extensions, b"").await
    }

    async fn shake(gate: &Gate, path: &str, extensions: &str, early: &[u8]) -> (Self, String) {
        let mut raw = Self { stream: TcpStream::connect(gate.address()).await.unwrap() };
        raw.send(&[handshake(gate.address(), path, extensions).as_bytes(), early].concat()).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, raw.stream.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        (raw, head)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().unwrap();
    }

    /// Apart, to read while it writes.
    pub(crate) fn into_halves(self) -> (Raw<OwnedReadHalf>, OwnedWriteHalf) {
        let (reader, writer) = self.stream.into_split();
        (Raw { stream: reader }, writer)
    }
}

impl<R: AsyncRead + Unpin> Raw<R> {
    /// The next frame, as it is: its opcode, and its payload.
    pub(crate) async fn next(&mut self) -> Option<(u8, Bytes)> {
        self.next_whole().await.map(|(first, payload)| (first & 0x0f, payload))
    }

    /// The next frame with its whole first byte.
    pub(crate) async fn next_whole(&mut self) -> Option<(u8, Bytes)> {
        timeout(PATIENCE, self.read_frame()).await.expect("nothing came")
    }

    async fn read_frame(&mut self) -> Option<(u8, Bytes)> {
        let first = self.stream.read_u8().await.ok()?;
        let length = match self.stream.read_u8().await.ok()? {
            126 => usize::from(self.stream.read_u16().await.ok()?),
            127 => usize::try_from(self.stream.read_u64().await.ok()?).unwrap(),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((first, payload.into()))
    }

    /// The close that comes next, and then the end of the stream.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            let (opcode, payload) = self.next().await.expect("a close before the end");
            if opcode == 8 {
                assert_eq!(self.next().await, None, "nothing comes after a close");
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

/// A client's frame.
pub(crate) fn framed(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x5a, 0x01, 0xfe, 0x7c];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn handshake(address: SocketAddr, path: &str, extensions: &str) -> String {
    let extensions = if extensions.is_empty() {
        String::new()
    } else {
        format!("sec-websocket-extensions: {extensions}\r\n")
    };
    format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{extensions}\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}
