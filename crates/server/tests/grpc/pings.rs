//! Pings: a connection is asked whether it is still there, and let go of when it does not say.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::gateway::Gateway;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types of HTTP/2, and the flag of an answer.
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;

/// An HTTP/2 client that says what it is told to.
struct Peer(TcpStream);

impl Peer {
    async fn connect(gateway: &Gateway) -> Self {
        let mut peer = Self(TcpStream::connect(gateway.address()).await.expect("a connection"));
        peer.0.write_all(PREFACE).await.expect("written");
        peer.send(SETTINGS, 0, &[]).await;
        peer
    }

    async fn send(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).expect("short");
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.expect("written");
    }

    /// The next frame: its type, its flags and its payload; nothing when the connection is gone.
    async fn frame(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], payload))
    }

    /// The next question whether it is there, past all other frames.
    async fn ping(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.frame().await? {
                (PING, flags, payload) if flags & ACK == 0 => return Some(payload),
                _ => {}
            }
        }
    }
}

fn about(took: Duration, seconds: u64) -> bool {
    took.abs_diff(Duration::from_secs(seconds)) < Duration::from_secs(2)
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_pinged_every_thirty_seconds_and_kept_when_it_answers() {
    let gateway = Gateway::start().await;
    let mut peer = Peer::connect(&gateway).await;
    for _ in 0..3 {
        let asked = Instant::now();
        let ping = peer.ping().await.expect("a ping");
        assert!(about(asked.elapsed(), 30), "{:?}", asked.elapsed());
        peer.send(PING, ACK, &ping).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_answers_no_ping_is_let_go_of() {
    let gateway = Gateway::start().await;
    let mut peer = Peer::connect(&gateway).await;
    let started = Instant::now();
    while peer.ping().await.is_some() {}
    assert!(about(started.elapsed(), 50), "{:?}", started.elapsed());
}
